"""What fuzzing found stays found; and a short run of the fuzzer itself."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.language.source import Source
from fractal_dsl.language.syntax_to_text import syntax_to_text
from fractal_dsl.pipeline import check, parse

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.frac"))


@pytest.mark.parametrize("path", CORPUS, ids=lambda p: p.stem)
def test_what_was_found_stays_mended(path: Path) -> None:
    source = Source("spec.frac", path.read_text("utf-8"))
    with contextlib.suppress(FracError):
        check(source)
    try:
        formatted = syntax_to_text(parse(source))
    except FracError:
        return
    assert syntax_to_text(parse(Source("spec.frac", formatted))) == formatted


@pytest.mark.slow
def test_a_minute_of_fuzzing(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    script = Path(__file__).parent / "fuzz.py"
    command = [sys.executable, str(script), "-max_total_time=60", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
