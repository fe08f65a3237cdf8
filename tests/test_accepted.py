"""Settings that were accepted before are not checked again; wrong ones always are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fractal_dsl.base.cache import private_cache
from fractal_dsl.config import accepted
from fractal_dsl.config.accepted import note_accepted
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.pipeline import compile_text

SPEC = 'net N(x: f32[1, 8, 8]) -> f32[10] = flatten >> linear(10)\ntrain {{ dataset = "digits" epochs = {epochs} }}\n'


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = private_cache()
    assert folder == tmp_path / "fractal_dsl"
    return folder


def stored(cache: Path) -> list[str]:
    return [line for file in cache.glob("settings-*") for line in file.read_text().split()]


def test_settings_are_noted_once_and_by_value(cache: Path) -> None:
    for epochs in ("1", "1", "2", "1"):
        compile_text(SPEC.format(epochs=epochs))
    assert len(stored(cache)) == len(set(stored(cache))) == 2
    note_accepted({"epochs": 1})
    assert accepted.accepted({"epochs": 1})
    assert not any(accepted.accepted({"epochs": value}) for value in (1.0, "1", True, [1], None))


@pytest.mark.parametrize("epochs", ["0", '"many"', "-1"])
def test_wrong_settings_are_errors_each_time(cache: Path, epochs: str) -> None:
    for _ in range(2):
        with pytest.raises(FracError, match="epochs"):
            compile_text(SPEC.format(epochs=epochs))
    assert not stored(cache)


@pytest.mark.parametrize("damaged", [b"\xff\xfe", b"", b"no digest\n" * 20_000])
def test_a_damaged_file_is_ignored(cache: Path, damaged: bytes) -> None:
    compile_text(SPEC.format(epochs="1"))
    (file,) = cache.glob("settings-*")
    file.write_bytes(damaged)
    compile_text(SPEC.format(epochs="1"))
    assert file.stat().st_size < 100_000


def test_another_schema_checks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    note_accepted({"epochs": 1})
    monkeypatch.setattr(accepted, "__version__", "0.0.0")
    assert not accepted.accepted({"epochs": 1})


def test_a_folder_that_others_can_write_to_is_not_used(cache: Path) -> None:
    note_accepted({"epochs": 1})
    cache.chmod(0o777)
    assert not accepted.accepted({"epochs": 1})


def test_a_check_of_known_settings_does_not_load_the_schema(tmp_path: Path) -> None:
    spec = tmp_path / "n.frac"
    spec.write_text(SPEC.format(epochs="1"))
    code = (
        "import sys; from fractal_dsl.pipeline import compile_file\n"
        f"compile_file({str(spec)!r}); print('pydantic' in sys.modules)"
    )
    said = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert [done.stdout.strip() for done in said] == ["True", "False"]
