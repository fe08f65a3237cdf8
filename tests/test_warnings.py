"""Warnings: what compiles but is most likely not meant. Every command prints them; no exit code changes."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import pytest

from fractal_dsl.cli import main
from fractal_dsl.language.diagnostics import FracError, Report
from fractal_dsl.language.source import Source, Span
from fractal_dsl.pipeline import checked, compile_file, compile_text
from fractal_dsl.play.answers import answer
from fractal_dsl.play.asked import SpecText

REORDERING = [chr(c) for c in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)]
NET = "net N(x: f32[4]) -> f32[4] = linear(4)"


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("spec.frac").write_text(f"param k: int = 1 in 1..2\n{NET}  # a\u202e b\n", "utf-8")
    return "spec.frac"


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["fractal-dsl", *words])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize("char", REORDERING, ids=ascii)
@pytest.mark.parametrize("place", ["# a{}b\n" + NET, NET + " # {}", 'let a = "x{}y"\n' + NET])
def test_a_character_that_reorders_text_is_warned_of_and_not_shown(char: str, place: str) -> None:
    (warning,) = compile_text(place.format(char)).warnings
    assert (warning.code, warning.severity) == ("W0101", "warning")
    assert f"U+{ord(char):04X}" in warning.message and warning.span.start == place.index("{}")
    assert char not in warning.text(colour=True) and char not in json.dumps(warning.json())


def test_between_words_such_a_character_is_an_error_only() -> None:
    with pytest.raises(FracError) as caught:
        compile_text(NET.replace("linear", "linear\u200e"))
    assert [d.code for d in caught.value.diagnostics] == ["E0101"] and not caught.value.warnings


def test_a_run_of_such_characters_is_one_warning() -> None:
    assert len(compile_text(f"# \u2066\u2066\u202e x\n{NET}").warnings) == 1


def test_warnings_of_imported_files_and_of_files_without_a_net(spec: str) -> None:
    Path("part.frac").write_text("let w = 4  # \u202e\n", "utf-8")
    Path("main.frac").write_text(f'from "part.frac" import w\n{NET}\n', "utf-8")
    (warning,) = compile_file("main.frac").warnings
    assert warning.source.name == "part.frac"
    assert len(checked(Source("x.frac", "# \u202e")).warnings) == 1


def test_errors_carry_the_warnings_through_a_pool_of_processes() -> None:
    with pytest.raises(FracError) as caught:
        compile_text(f"{NET} >> nothing  # \u202e")
    error = pickle.loads(pickle.dumps(caught.value))
    assert [d.code for d in error.diagnostics] == ["E0201"] and [d.code for d in error.warnings] == ["W0101"]


def test_a_report_with_warnings_alone_raises_nothing() -> None:
    report = Report(Source("x.frac", "abc"))
    for start in (2, 0, 0):
        report.warning("W0101", Span(start, start + 1), "a message")
    report.raise_if_any()
    assert [d.span.start for d in report.warnings] == [0, 2]


@pytest.mark.parametrize(
    "words",
    [
        ("info", "spec.frac"),
        ("info", "spec.frac", "--json"),
        ("render", "spec.frac", "-o", "net.dot"),
        ("plan", "spec.frac"),
        ("compile", "spec.frac", "--emit", "raw"),
        ("compile", "spec.frac", "-o", "net"),
        ("scaling", "spec.frac", "--processes", "1"),
    ],
    ids=" ".join,
)
def test_commands_print_warnings_and_go_on(
    words: tuple[str, ...], spec: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *words) == 0
    out, err = capsys.readouterr()
    assert err.count("warning[W0101]: U+202E") == 1 and "\u202e" not in out + err and "W0101" not in out


def test_check_prints_and_counts_warnings(
    spec: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "check", spec) == 0
    out, err = capsys.readouterr()
    assert out == "spec.frac: ok (N)\n" and "warning[W0101]" in err and err.endswith("\n\n1 warning\n")
    Path("bad.frac").write_text(f"{NET} >> nothing  # \u202e\n", "utf-8")
    assert run(monkeypatch, "check", spec, "bad.frac") == 1
    assert capsys.readouterr().err.endswith("\n\n1 error, 2 warnings\n")


def test_check_gives_warnings_to_tools(
    spec: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "check", spec, "--format", "json") == 0
    out, err = capsys.readouterr()
    assert [(d["code"], d["severity"], d["line"]) for d in json.loads(out)] == [("W0101", "warning", 2)] and not err
    Path("bad.frac").write_text(f"{NET} >> nothing  # \u202e\n", "utf-8")
    assert run(monkeypatch, "check", "bad.frac", "--format", "json") == 1
    assert [d["severity"] for d in json.loads(capsys.readouterr().out)] == ["error", "warning"]


def test_the_page_shows_warnings() -> None:
    for text, errors in ((f"{NET}  # \u202e", 0), (f"{NET} >> nothing  # \u202e", 1)):
        found = answer("check", SpecText(Source("<text>", text)), {})
        assert len(found["errors"]) == errors and [d["code"] for d in found["warnings"]] == ["W0101"]


@pytest.mark.parametrize(
    ("body", "help"),
    [
        ("sum(id, conv2d(16, 3, padding=1))", "`project(16)`"),
        ("mean(conv2d(16, 3, padding=1), id)", "`project(16)`"),
        ("sum(id, (conv2d(16, 3, padding=1) >> relu), conv2d(16, 1))", "`project(16)`"),
    ],
)
def test_a_shortcut_that_a_sum_repeats_is_warned_of(body: str, help: str) -> None:
    (warning,) = compile_text(f"net N(x: f32[1, 8, 8]) -> f32[16, 8, 8] = {body}").warnings
    assert warning.code == "W0503" and help in (warning.help or "")


@pytest.mark.parametrize(
    "body",
    [
        "sum(project(16), conv2d(16, 3, padding=1))",
        "product(id, conv2d(16, 3, padding=1))",
        "conv2d(16, 1) >> sum(id, conv2d(1, 1))",
        "conv2d(16, 1) >> sum(id, conv2d(16, 1))",
    ],
)
def test_what_is_meant_to_be_repeated_is_not_warned_of(body: str) -> None:
    assert not compile_text(f"net N(x: f32[1, 8, 8]) -> f32[16, 8, 8] = {body}").warnings
