"""Each code is explained, and its examples do what they say."""

from __future__ import annotations

import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fractal_dsl.base.errors import UserError
from fractal_dsl.cli import main
from fractal_dsl.language.diagnostics import CODES, Diagnostic, FracError
from fractal_dsl.language.read import read
from fractal_dsl.pipeline import checked
from fractal_dsl.services.explanations import EXPLANATIONS, NAME, Explanation, explain

SPECS = {code: entry for code, entry in EXPLANATIONS.items() if not entry.command}
COMMANDS = {code: entry for code, entry in EXPLANATIONS.items() if entry.command}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "nets"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


def spec(folder: Path, entry: Explanation, text: str) -> tuple[Diagnostic, ...]:
    """Write a spec and what lies beside it into the folder that is the current one, and check it: its warnings."""
    for name, content in entry.files.items():
        (folder / name).write_bytes(content)
    (folder / NAME).write_text(text, "utf-8")
    return checked(read(NAME)).warnings


def test_every_code_is_explained_and_nothing_else() -> None:
    assert set(EXPLANATIONS) == set(CODES)


@pytest.mark.parametrize(("code", "entry"), SPECS.items(), ids=SPECS)
def test_the_wrong_example_gives_its_code_only_and_what_is_printed(code: str, entry: Explanation, folder: Path) -> None:
    try:
        found = list(spec(folder, entry, entry.wrong))
    except FracError as error:
        found = [*error.diagnostics, *error.warnings]
    assert {(d.code, d.severity) for d in found} == {(code, "error" if code.startswith("E") else "warning")}
    assert textwrap.indent("\n\n".join([d.text() for d in found]), "    ") in explain(code)


@pytest.mark.parametrize(("code", "entry"), SPECS.items(), ids=SPECS)
def test_the_right_example_has_no_findings(code: str, entry: Explanation, folder: Path) -> None:
    assert not spec(folder, entry, entry.right)


@pytest.mark.parametrize(("code", "entry"), COMMANDS.items(), ids=COMMANDS)
def test_the_commands_do_what_is_said(
    code: str,
    entry: Explanation,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, content in entry.files.items():
        (folder / name).write_bytes(content)
    for command, sound in ((entry.wrong, False), (entry.right, True)):
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as exit:
            main()
        assert (exit.value.code == 0) is sound
        assert (entry.error in capsys.readouterr().err) is not sound


@pytest.mark.parametrize("code", EXPLANATIONS)
def test_the_text_has_its_parts(code: str) -> None:
    text = explain(code)
    assert text.startswith(f"{code}: {CODES[code]}\n\n")
    places = [text.index(f"\n\n{title}:\n\n    ") for title in ("Wrong", "Output", "Right")]
    assert places == sorted(places)
    assert text == explain(code.lower())


def test_an_unknown_code_names_the_nearest() -> None:
    with pytest.raises(UserError, match="there is no code E401; did you mean E0401"):
        explain("e401")
    with pytest.raises(UserError, match="E0001 to E0805, warnings W0101, W0401, W0501, W0502, W0503, W0701"):
        explain("nothing")


def test_explaining_imports_no_torch() -> None:
    script = "import sys, fractal_dsl.services.explanations as e; e.explain('E0401'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
