"""Every number that is set must be finite: the message names the setting and says so, wherever it is given."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.numbers import first_not_finite, not_finite
from fractal_dsl.cli import main
from fractal_dsl.config import ConfigError, TrainConfig, merge, parse_config
from fractal_dsl.config.errors import variants
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.pipeline import compile_text
from fractal_dsl.program.literals import literal
from fractal_dsl.sweep.space import axis

WRITTEN = ["inf", "-inf", "nan", "1e999", "-1e999", "Infinity"]
NET = "param k: float = 1.0\nparam ks: [float] = [1.0]\nnet N(x: f32[1, 8, 8]) -> f32[10] = flatten >> linear(10)\n"


def floats() -> list[tuple[str, str]]:
    """Each float setting of the schema: its path, and the variant that has it."""
    paths = [(name, "") for name, field in TrainConfig.model_fields.items() if "float" in str(field.annotation)]
    for setting in TrainConfig.model_fields:
        for model in variants(setting):
            kind = str(model.model_fields["name"].default)
            paths += [
                (f"{setting}.{key}", "imagenet" if kind == "PydanticUndefined" else kind)
                for key, field in model.model_fields.items()
                if "float" in str(field.annotation) and "list[float]" not in str(field.annotation)
            ]
    return [(path, kind) for path, kind in paths if path.count(".") == 1 or kind == ""]


SETTINGS = floats()


def test_the_schema_has_float_settings_of_every_kind() -> None:
    paths = {path for path, _ in SETTINGS}
    assert {"clip", "ema", "optimizer.lr", "schedule.floor", "dataset.noise", "augment.smallest"} <= paths


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize(("path", "kind"), SETTINGS, ids=[f"{p}-{k}" for p, k in SETTINGS])
def test_settings_of_the_command_line_are_finite(path: str, kind: str, written: str) -> None:
    named = [(path.partition(".")[0], kind)] if kind else []
    message = rf"`{path}` must be a finite number, found {written}$"
    with pytest.raises(ConfigError) as caught:
        parse_config(merge({}, [*named, (path, literal(written, path))]))
    assert any(f"`{path}` must be a finite number, found {written}" == m for _, m, _ in caught.value.findings)
    for text in (f"0.1..{written}", f"{written}..1", f"0.1..0.5:step={written}"):
        with pytest.raises(UserError, match=message):
            axis("setting", path, text)
    if "." in path:
        setting, key = path.split(".")
        with pytest.raises(UserError, match=message):
            literal(f"{kind}({key}={written})", setting)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize(("name", "key"), [("cross_entropy", "class_weights"), ("binary_cross_entropy", "pos_weight")])
def test_lists_of_numbers_are_finite(name: str, key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"`loss.{key}.1` must be a finite number, found {value}"):
        parse_config({"loss": {"name": name, key: [1.0, value]}})


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize(("path", "kind"), SETTINGS, ids=[f"{p}-{k}" for p, k in SETTINGS])
def test_settings_of_a_train_block_are_finite(path: str, kind: str, written: str) -> None:
    setting, _, key = path.partition(".")
    value = f"{kind}({key}={written})" if key else written
    with pytest.raises(FracError) as caught:
        compile_text(f"{NET}train {{ {setting} = {value} }}")
    assert f"`{path}` must be a finite number, found {written}" in [d.message for d in caught.value.diagnostics]


@pytest.mark.parametrize("path", ["epochs", "batch", "seed", "dataset.workers"])
def test_whole_numbers_are_finite(path: str) -> None:
    with pytest.raises(ConfigError, match=f"`{path}` must be a finite whole number, found 1e999"):
        parse_config(merge({}, [("dataset", "imagenet"), (path, literal("1e999", path))]))


@pytest.mark.parametrize("written", ["inf", "nan", "1e999"])
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("schedule.at", "step"),
        ("loss.class_weights", "cross_entropy"),
        ("loss.pos_weight", "binary_cross_entropy"),
    ],
)
def test_lists_hold_finite_numbers(path: str, kind: str, written: str) -> None:
    with pytest.raises(ConfigError, match=f"`{path}` must be a list of finite numbers, found {written}"):
        parse_config(merge({}, [(path.partition(".")[0], kind), (path, literal(f"[1, {written}]", path))]))


@pytest.mark.parametrize("written", WRITTEN)
def test_parameters_are_finite(written: str) -> None:
    with pytest.raises(FracError, match=f"`k` must be a finite number, found {written}\n"):
        compile_text(NET, {"k": written})
    with pytest.raises(FracError, match=f"`ks` must be a finite number, found {written}\n"):
        compile_text(NET, {"ks": f"[0.5, {written}]"})


@pytest.mark.parametrize("number", ["inf", "nan", "-inf", "1e999"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "spec.frac", "--lr="), "`optimizer.lr` must be a finite number"),
        (("sweep", "spec.frac", "--set", "clip=1|2", "--lr="), "`optimizer.lr` must be a finite number"),
        (("scaling", "spec.frac", "--tflops="), "a finite number"),
        (("scaling", "spec.frac", "--gigabytes="), "a finite number"),
        (("predict", "run", "x.png", "--budget-ms="), "a finite number"),
        (("check", "spec.frac", "-p", "k="), "`k` must be a finite number"),
        (("check", "spec.frac", "--params", "p.toml"), "`k` must be a finite number"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_flags_are_finite(
    words: tuple[str, ...],
    message: str,
    number: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("spec.frac").write_text(f"{NET}train {{ dataset = synthetic(size=50) }}\n")
    Path("p.toml").write_text(f"k = {number}\n")
    whole = [*words[:-1], words[-1] + number] if words[-1].endswith("=") else words
    monkeypatch.setattr(sys, "argv", ["fractal-dsl", *whole])
    with pytest.raises(SystemExit) as end:
        main()
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert end.value.code and (message in said or "must be at least" in said), said


def test_what_is_not_finite() -> None:
    assert all(map(not_finite, WRITTEN)) and not any(map(not_finite, ("1", "1e9", "info", "", "0x1")))
    assert first_not_finite("[1, -1e+999]") == "-1e+999" and first_not_finite("information, 1e-9") is None
