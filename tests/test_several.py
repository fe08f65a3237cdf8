"""Training of nets with several inputs, several outputs, or both."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import ConfigError, parse_config
from fractal_dsl.evaluation.evaluate import evaluate
from fractal_dsl.evaluation.predict import predict
from fractal_dsl.evaluation.run import Run, RunResult
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runs.files import RunFiles
from fractal_dsl.training.train import resume, train
from tests.support.runs import ends_of, killed_at

Arrays = dict[str, NDArray[Any]]

PAIR = """
shared body = conv2d(8, 3, padding=1) >> relu >> maxpool2d(2) >> flatten >> linear(16)
net Pair(left: f32[1, 8, 8], right: f32[1, 8, 8]) -> (same: f32[2], which: f32[4], angle: f32[1])
    = (concat(a, b) >> linear(32) >> relu >> linear(2), a >> linear(4), b >> linear(1))
    where a = left >> body, b = right >> body
"""
SETTINGS: dict[str, Any] = {
    "epochs": 5,
    "optimizer": {"name": "adamw", "lr": 0.01},
    "losses": {"which": 0.3, "angle": {"name": "huber", "weight": 0.5}},
}
AUX = """
layer conv(out: int) = conv2d(out, 3, padding=1, bias=false) >> dropout2d(10%) >> batchnorm2d >> relu
rule F(out: int) join mean {
    F[1]   = conv(out)
    F[n+1] = F[n] >> F[n] | conv(out)
}
net Aux(image: f32[1, 8, 8]) -> (digit: f32[10], early: f32[10]) with drop_path(local=15%, columns=all)
    = (stem >> maxpool2d(2) >> F[2](16) >> flatten >> linear(10), stem >> flatten >> linear(10))
    where stem = F[2](8)
"""


def pairs(count: int = 600) -> Arrays:
    """Pairs of noisy pictures of four kinds: whether both are of one kind, which kind, and a number of the second."""
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(4, 1, 8, 8))
    one, same = rng.integers(0, 4, count), rng.random(count) < 0.5
    other = np.where(same, one, (one + rng.integers(1, 4, count)) % 4)
    left, right = (kinds[k] + 0.3 * rng.normal(size=(count, 1, 8, 8)) for k in (one, other))
    return {
        "x_train.left": left.astype(np.float32),
        "x_train.right": right.astype(np.float32),
        "y_train.same": same.astype(np.int64),
        "y_train.which": one,
        "y_train.angle": (100 + 10 * other).astype(np.float32),
    }


def trained(folder: Path, text: str, **settings: Any) -> RunResult:
    return train(compile_text(text), parse_config(settings), folder, console=Console(file=StringIO()), device="cpu")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.npz"
    np.savez(path, **pairs())  # pyright: ignore[reportArgumentType]
    return path


@pytest.fixture(scope="module")
def pair_run(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair") / "run"
    trained(folder, PAIR, dataset=f"npz:{archive}", **SETTINGS)
    return folder


def test_a_siamese_net_learns_a_loss_for_each_output(pair_run: Path, archive: Path) -> None:
    result = json.loads((pair_run / "result.json").read_text())
    outputs = result["outputs"]
    assert [*outputs] == ["same", "which", "angle"]
    assert result["accuracy"] == outputs["same"]["accuracy"] > 0.95
    assert outputs["which"]["accuracy"] > 0.95 and outputs["angle"]["r2"] > 0.8
    assert result["loss"] == pytest.approx(
        outputs["same"]["loss"] + 0.3 * outputs["which"]["loss"] + 0.5 * outputs["angle"]["loss"]
    )
    again = evaluate(Run.open(pair_run), device="cpu")
    assert (again["loss"], again["outputs"]) == (result["loss"], outputs)


def test_inputs_are_normalised_each_by_its_own_moments(pair_run: Path) -> None:
    record = Run.open(pair_run).data()
    arrays = pairs()
    assert [*record.by_input] == ["left", "right"]
    for name, one in record.by_input.items():
        assert one.mean[0] == pytest.approx(arrays[f"x_train.{name}"].mean(), abs=0.1)
    assert [(o.task, o.loss, o.weight) for o in record.by_output.values()] == [
        ("classification", "cross_entropy", 1.0),
        ("classification", "cross_entropy", 0.3),
        ("regression", "huber", 0.5),
    ]


def test_predictions_of_pairs_name_each_output(pair_run: Path, tmp_path: Path) -> None:
    arrays, path = pairs(20), tmp_path / "some.npz"
    np.savez(path, left=arrays["x_train.left"], right=arrays["x_train.right"])
    rows = [*predict(Run.open(pair_run), [path], device="cpu")]
    given = [row.as_json() for row in rows]
    assert len(rows) == 20 and given[0]["file"] == f"{path}[0]"
    same = sum(row["class"] == y for row, y in zip(given, arrays["y_train.same"], strict=True))
    assert same >= 18 and given[0]["class"] == given[0]["outputs"]["same"]["class"]
    angles = [row["outputs"]["angle"]["values"]["0"] for row in given]
    assert np.abs(np.array(angles) - arrays["y_train.angle"]).mean() < 8, "predictions are in the unit of the targets"
    assert "same: " in rows[0].reading.text() and "; angle: " in rows[0].reading.text()
    np.savez(path, left=arrays["x_train.left"])
    with pytest.raises(UserError, match=r"must have one array for each input, x\.left, x\.right, but it has left"):
        [*predict(Run.open(pair_run), [path], device="cpu")]
    np.savez(path, left=arrays["x_train.left"], right=arrays["x_train.right"][:3])
    with pytest.raises(UserError, match="there are 20 of `left` and 3 of `right`"):
        [*predict(Run.open(pair_run), [path], device="cpu")]


@pytest.mark.parametrize("outputs", [None, {}, {"which": {}}, {"which": {"accuracy": "high", "loss": 1.0}}, [1]])
def test_damaged_figures_of_outputs_are_refused(outputs: object, pair_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(pair_run, copy)
    result = json.loads((copy / "result.json").read_text())
    (copy / "result.json").write_text(json.dumps({**result, "outputs": outputs}))
    with pytest.raises(UserError, match=r"result\.json is damaged"):
        RunFiles.read(copy)


def test_the_report_shows_each_output(pair_run: Path) -> None:
    page = (pair_run / "report.html").read_text()
    assert "Output which" in page and "Output angle" in page and "output angle, task" in page


def test_an_auxiliary_head_shares_its_targets(tmp_path: Path) -> None:
    """Drop-path with all columns, distillation, recalibration, augmentation and mixing treat all outputs alike."""
    settings: dict[str, Any] = {"dataset": "digits", "optimizer": {"name": "adamw", "lr": 0.01}, "epochs": 3}
    result = trained(tmp_path / "run", AUX, losses={"early": 0.3}, **settings).measured
    assert result["accuracy"] > 0.9 and result["outputs"]["early"]["accuracy"] > 0.8
    columns = evaluate(Run.open(tmp_path / "run"), columns=True, anytime=True, device="cpu")["columns"]
    assert [[*column["outputs"]] for column in columns] == [["digit", "early"]] * 2
    mixed = {"mixup": 0.2, "augment": "translate", "accumulate": 2, "track_columns": True, "distill": "distill"}
    both = trained(tmp_path / "mixed", AUX, recalibrate="end", **mixed, **{**settings, "epochs": 1}).measured
    assert both["loss"] < 6


def test_ten_crops_are_averaged_for_each_output(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, low in (("light", 120), ("dark", 0)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(12):
            pixels = (low + 100 * rng.random((10, 10, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    text = """net N(x: f32[3, 8, 8]) -> (main: f32[2], aux: f32[2])
        = (a >> relu >> flatten >> linear(2), a >> global_avgpool >> linear(2)) where a = conv2d(4, 3)"""
    trained(tmp_path / "run", text, dataset=f"folder:{tmp_path / 'images'}", epochs=1, batch=4)
    result = evaluate(Run.open(tmp_path / "run"), ten_crops=True, device="cpu")
    assert [*result["outputs"]] == ["main", "aux"] and result["outputs"]["aux"]["accuracy"] > 0.5


def test_an_output_without_weight_needs_no_targets(archive: Path, tmp_path: Path) -> None:
    arrays = pairs()
    path = tmp_path / "same.npz"
    np.savez(path, **{name: y for name, y in arrays.items() if name not in ("y_train.which", "y_train.angle")})
    losses = {"which": 0, "angle": 0}
    settings = {**SETTINGS, "losses": losses}
    result = trained(tmp_path / "run", PAIR, dataset=f"npz:{path}", **settings).measured
    assert [*result["outputs"]] == ["same"] and result["accuracy"] > 0.8


@pytest.mark.parametrize("text", [PAIR, AUX])
def test_a_killed_run_resumes_with_the_same_bits(text: str, archive: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {**SETTINGS, "dataset": f"npz:{archive}", "epochs": 2, "save_steps": 3}
    if text == AUX:
        settings |= {"dataset": "digits", "losses": {"early": 0.3}, "batch": 128, "ema": 0.9, "mixup": 0.2}
    trained(tmp_path / "whole", text, **settings)
    with killed_at(8):
        trained(tmp_path / "killed", text, **settings)
    resume(tmp_path / "killed", console=Console(file=StringIO()), device="cpu")
    assert ends_of(tmp_path / "killed") == ends_of(tmp_path / "whole")


Change = Callable[[Arrays], Arrays]


def without(*names: str) -> Change:
    return lambda arrays: {name: x for name, x in arrays.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("x_train.right"), r"has x_train\.left, but no array x_train\.right for the input `right`"),
        (without("x_train.left", "x_train.right"), r"must have an array for each input, x_train\.left and x_train\.r"),
        (without("y_train.which"), r"has y_train\.same, but no array y_train\.which for the output `which`"),
        (
            without("y_train.same", "y_train.which", "y_train.angle"),
            r"must have y_train for all outputs, or y_train\.s",
        ),
        (lambda a: {**a, "x_train.middle": a["x_train.left"]}, r"x_train\.middle, but net Pair has no input `middle`"),
        (lambda a: {**a, "y_train.wich": a["y_train.which"]}, "no output `wich`: did you mean `which`"),
        (lambda a: {**a, "y_train": a["y_train.same"]}, r"has both y_train and y_train\.same"),
        (lambda a: {**a, "x_train": a["x_train.left"]}, r"several inputs: store them as x_train\.left and x_train\.ri"),
        (lambda a: {**a, "x_train.right": a["x_train.right"][1:]}, r"600 x_train\.left and 599 x_train\.right"),
        (lambda a: {**a, "y_train.which": a["y_train.which"][1:]}, r"600 x_train\.left and 599 y_train\.which"),
        (lambda a: {**a, "x_train.right": a["x_train.right"][:, :, :4]}, r"but net Pair takes .* as `right`"),
        (lambda a: {**a, "y_train.which": a["y_train.which"] + 3}, "output `which`|classes .* 0 to 3"),
        (lambda a: {**a, "y_test": a["y_train.same"], "x_test.left": a["x_train.left"]}, r"x_test\.right"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: Change, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.npz"
    np.savez(path, **change(pairs()))  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=message):
        trained(tmp_path / "run", PAIR, dataset=f"npz:{path}", **SETTINGS)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        (PAIR, {"losses": {"angel": 1}}, "no such output: did you mean `angle`"),
        (PAIR, {"losses": {"same": 0}}, "`same`, the first output of net Pair, chooses the best weights"),
        (PAIR, {"augment": "translate"}, "`augment` moves one image, but the net takes left, right"),
        (PAIR, {"mixup": 0.2}, "mixup and cutmix are for nets with one input"),
        (PAIR, {"dataset": "digits"}, "`digits` has one input for each example, but net Pair takes 2, left, right"),
        (PAIR, {"losses": {"which": "squared"}}, "^output `which`: the net gives"),
        (AUX, {"dataset": "digits", "losses": {"early": "squared"}}, "^output `early`: the net gives"),
        ("net N(x: f32[1, 8, 8]) -> f32[10] = flatten >> linear(10)", {"losses": {"output": 2}}, "net N has one: set"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    text: str, settings: dict[str, Any], message: str, archive: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        trained(tmp_path / "run", text, **{"dataset": f"npz:{archive}", **SETTINGS, **settings})


def test_losses_are_checked_with_the_other_settings() -> None:
    config = parse_config(
        {"losses": {"name": "by_output", "a": 2, "b": "absolute", "c": {"name": "huber", "delta": 2}}}
    )
    assert [(one.weight, one.loss and one.loss.name) for one in config.losses.values()] == [
        (2, None),
        (1, "absolute"),
        (1, "huber"),
    ]
    assert parse_config(config.model_dump(mode="json")) == config
    for losses, message in [
        ({"a": -1}, r"`losses\.a\.weight` must be at least 0"),
        ({"a": "hubr"}, "did you mean `huber`"),
        ({"a": {"name": "huber", "delt": 1}}, "did you mean `delta`"),
        ([1], r"by_output\(main=1, aux=0\.3\)"),
    ]:
        with pytest.raises(ConfigError, match=message):
            parse_config({"losses": losses})


def test_python_data_sets_give_inputs_and_targets_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pairdata.py").write_text(
        """
import torch
from torch.utils.data import Dataset

class Pairs(Dataset):
    def __init__(self, named): self.named = named
    def __len__(self): return 60
    def __getitem__(self, i):
        g = torch.Generator().manual_seed(i)
        left, right = torch.randn(2, 1, 8, 8, generator=g)
        y = {"same": i % 2, "which": i % 4, "angle": float(i)}
        return ({"right": right, "left": left} if self.named else (left, right)), y

def named(part): return Pairs(True) if part == "train" else None
def ordered(part): return Pairs(False) if part == "train" else None
def short(part):
    data = named(part)
    return data and [(x, {"same": y["same"]}) for x, y in (data[i] for i in range(60))]
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    spec = compile_text(PAIR)

    def run(factory: str) -> RunResult:
        config = parse_config({**SETTINGS, "dataset": f"python:pairdata:{factory}", "epochs": 1})
        console = Console(file=StringIO())
        return train(spec, config, tmp_path / factory, console=console, device="cpu", allow_python=True)

    named, ordered = run("named"), run("ordered")
    assert named.measured["outputs"].keys() == {"same", "which", "angle"}
    assert named.measured == ordered.measured
    with pytest.raises(UserError, match="has targets for same, but the net needs same, which, angle"):
        run("short")


def test_names_of_outputs_are_checked() -> None:
    with pytest.raises(FracError, match="`a` is already the name of an output"):
        compile_text("net N(x: f32[4]) -> (a: f32[2], a: f32[1]) = (linear(2), linear(1))")
    with pytest.raises(FracError, match="`x` is already the name of an input"):
        compile_text("net N(x: f32[4]) -> (x: f32[2], a: f32[1]) = (linear(2), linear(1))")
    assert [*compile_text("net N(x: f32[4]) -> (f32[2], f32[1]) = (linear(2), linear(1))").summary.outputs] == [
        "output1",
        "output2",
    ]
