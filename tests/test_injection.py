"""What others name their files, nets, tags, classes and settings never becomes code, markup or a terminal command."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings

from fractal_dsl.base.escaping import one_line
from fractal_dsl.language.source import Source
from fractal_dsl.picture.dot_to_page import write_picture_page
from fractal_dsl.picture.graph_to_dot import Look, follow_reader
from fractal_dsl.picture.shown import Shown
from fractal_dsl.pipeline import check, pick
from fractal_dsl.runs.comparison import comparison_table
from fractal_dsl.runs.files import RunFiles
from fractal_dsl.runs.report import comparison_html
from fractal_dsl.runs.svg import clean_svg
from fractal_dsl.runtime import build
from fractal_dsl.runtime.artifact import load_artifact, model_source, save_artifact
from fractal_dsl.stored.manifests import RunParameters
from tests.support.effort import examples
from tests.test_escaping import HIDDEN, Elements, hostile

SPEC = """
param note: str = "a"
rule F join mean { F[1] = linear(3) @tag("tip") F[n+1] = F[n] >> F[n] | linear(3) }
net N(x: f32[3]) -> f32[3] with drop_path(local=15%), init("xavier") = F[2]
"""
PAYLOADS = (
    'net"""; __import__("os").system("id"); """.frac',
    'x"""; print(1); """',
    "C:\\users",
    "a\\Nb.frac",
    "ends in a backslash\\",
    'ends in a quote"',
    "a\nimport os\nb",
    "a\r\x1b[31mred\x1b[0m\u202e",
    "not UTF-8 \udcff\udc80",
)


def statements(source: str) -> list[str]:
    return [ast.unparse(node) for node in ast.parse(source).body[1:]]


@settings(max_examples=examples(40), deadline=None)
@given(name=hostile, note=hostile)
@example(name=PAYLOADS[0], note=PAYLOADS[1])
@example(name=PAYLOADS[3], note=PAYLOADS[2])
def test_names_and_values_add_no_statement_to_model_py(name: str, note: str) -> None:
    name = name.replace("/", "_").replace("\0", "_") or "spec"
    note = note.translate({ord('"'): "'", ord("\n"): " ", ord("\r"): " "})  # which texts of the language cannot hold
    harmless = pick(check(Source("spec.frac", SPEC)), None)
    compiled = pick(check(Source(name, SPEC), {"note": f'"{note}"'}), None)
    source = model_source(compiled, compiled.graph)
    source.encode("utf-8")
    assert statements(source) == statements(model_source(harmless, harmless.graph))
    text = ast.get_docstring(ast.parse(source), clean=False)
    assert text is not None and f"from {one_line(Path(name).name)} with note = " in text
    assert one_line(note) in text


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_hostile_file_and_parameter_compile_to_a_module_that_runs(payload: str, tmp_path: Path) -> None:
    file = tmp_path / payload.replace("/", "_")
    file.write_text(SPEC)
    compiled = pick(check(Source.read(file), {"note": payload.replace('"', "'").replace("\n", " ")}), None)
    save_artifact(compiled, build(compiled), tmp_path / "net")
    assert load_artifact(tmp_path / "net").join_graph.net == "N"
    source = (tmp_path / "net" / "model.py").read_text("utf-8")
    exec(compile(source, "model.py", "exec"), {"__builtins__": __builtins__, "__name__": "model"})


def test_the_header_says_what_the_file_needs_and_leaves_out() -> None:
    compiled = pick(check(Source("spec.frac", SPEC)), None)
    text = ast.get_docstring(ast.parse(model_source(compiled, compiled.graph))) or ""
    for part in ("needs torch only", "also needs safetensors", "draws a drop-path plan", 'those of `init("xavier")`'):
        assert part in text
    plain = pick(check(Source("spec.frac", "net N(x: f32[3]) -> f32[3] = linear(3)")), None)
    text = ast.get_docstring(ast.parse(model_source(plain, plain.graph))) or ""
    assert "drop-path" not in text and "init(" not in text


PICTURE = """<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9" onload="bad()">
<style>@import "http://a.b/c"; body { display: none }</style><script>bad()</script>
<a xlink:href="javascript:bad()" xlink:title="a">
<text onclick="bad()" fill="url(http://a.b)">kept &lt;b&gt;</text></a>
<foreignObject><iframe xmlns="http://www.w3.org/1999/xhtml" src="http://a.b"/></foreignObject>
<image href="http://a.b/c.png"/><use href="#x"/><rect width="3" height="4" style="background: url(x)"/></svg>"""


def test_a_picture_from_others_keeps_only_its_drawing() -> None:
    page = Elements(clean_svg(PICTURE))
    assert [tag for tag, _ in page.found] == ["svg", "a", "text", "rect"]
    names = {name for _, attributes in page.found for name, _ in attributes}
    assert names <= {"xmlns", "xmlns:xlink", "width", "height", "xlink:title"}
    assert page.text.split() == ["kept", "<b>"]
    for text in ("", "no picture", "<svg>&x;</svg>", "<svg", "<svg></svg>", "<svg " + "\ud800" + "></svg>"):
        assert clean_svg(text) == ""
    deep = f'<svg xmlns="http://www.w3.org/2000/svg">{"<g>" * 50_000}{"</g>" * 50_000}</svg>'
    assert clean_svg(deep).count("<g") <= 101


@settings(max_examples=examples(4), deadline=None)
@given(hostile)
@example("</script><script>alert(1)</script>")
def test_settings_and_names_of_runs_add_no_element_to_a_report(text: str) -> None:
    def page(value: str) -> Elements:
        run = RunFiles(
            Path(re.sub("[\0\ud800-\udc7f\udd00-\udfff]", "", value) or "run"),  # a name that a file can have
            RunParameters(value, {value: value}),
            {"dataset": {"name": value}, "ema": None},
            [],
            None,
            [],
            None,
            None,
            "running",
            {value: value},
            None,
            [],
        )
        return Elements(comparison_html([run, run], {value: [value] * 2}, {value: [value] * 2}))

    def shape(found: Elements) -> list[tuple[str, list[str]]]:
        return [(tag, [name for name, _ in attributes]) for tag, attributes in found.found]

    assert shape(page(text)) == shape(page("plain"))


def test_a_table_of_runs_shows_names_as_they_are() -> None:
    names = ["[bold]a[/bold]", "[/x]", "\x1b[31mred", ":smile:"]
    shown = "\n".join(comparison_table({"runs": names, "figures": dict.fromkeys(names, names), "settings": {}}))
    assert all(one_line(name) in shown for name in names) and "\x1b[31m" not in shown


def test_a_net_and_its_tags_add_no_element_to_its_page(tmp_path: Path) -> None:
    if not shutil.which("dot"):
        pytest.skip("Graphviz is missing")
    payload = "</script><script>bad()</script><img src=x onerror=bad()> \\N &lt;b&gt; \u202e"

    def page(tag: str) -> Elements:
        text = f'net N(x: f32[3]) -> f32[3] = linear(3) @tag("{tag}") >> nn.Softmax(dim=1) >> linear(3)'
        compiled = pick(check(Source("spec.frac", text)), None)
        write_picture_page(*Shown(compiled).page(Look()), tag, follow_reader(), tmp_path / "x.html")
        return Elements((tmp_path / "x.html").read_text("utf-8"))

    hostile_page, plain = page(payload), page("plain")
    assert [tag for tag, _ in hostile_page.found] == [tag for tag, _ in plain.found]


def fractal_dsl(*words: str | bytes, folder: Path) -> tuple[int, str]:
    """The exit code and what a command prints; it must be UTF-8 without control characters."""
    command = [sys.executable, "-m", "fractal_dsl", *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, env=environment)
    text = (done.stdout + done.stderr).decode("utf-8")
    assert not HIDDEN.search(text), text
    assert "internal error" not in text and "Traceback" not in text, text
    return done.returncode, text


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(b"a\x1b[31m\x1b]0;\xff\x07\n.frac", marks=pytest.mark.slow),
        pytest.param(b"a\xff.frac", marks=pytest.mark.slow),
        pytest.param("a\u202e.frac".encode(), marks=pytest.mark.slow),
    ],
)
def test_commands_take_files_of_any_name_and_show_them_as_text(name: bytes, tmp_path: Path) -> None:
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    file.write_text(SPEC)
    shown = one_line(file.name)
    assert fractal_dsl("check", name, folder=tmp_path) == (0, f"{shown}: ok (N)\n")
    assert fractal_dsl("info", name, folder=tmp_path)[0] == 0
    assert fractal_dsl("fmt", "--diff", name, folder=tmp_path)[0] == 1
    assert fractal_dsl("fmt", name, folder=tmp_path) == (0, f"{shown}: formatted\n")
    assert fractal_dsl("render", name, "-o", name + b".dot", folder=tmp_path) == (0, f"{shown}.dot\n")
    assert fractal_dsl("compile", name, "-o", name + b".net", folder=tmp_path)[0] == 0
    code, said = fractal_dsl("train", name, folder=tmp_path)
    assert code == 1 and "N has no data set to train on" in said
    file.write_text(SPEC.replace("linear", "liner"))
    assert fractal_dsl("check", b"--" + name, folder=tmp_path)[0] == 2
    code, said = fractal_dsl("check", name, folder=tmp_path)
    assert code == 1 and f"--> {shown}:" in said


@pytest.mark.parametrize("command", ["check", "info", "train", "plan"])
def test_values_that_are_not_utf_8_are_refused(command: str, tmp_path: Path) -> None:
    (tmp_path / "spec.frac").write_text(SPEC)
    code, said = fractal_dsl(command, "spec.frac", "-p", b"note=\xff", folder=tmp_path)
    assert code == 2 and "note=\\xff is not UTF-8 text" in said


def test_commands_print_through_one_door() -> None:
    """Only ``say`` and the end of the program print: what they print cannot command a terminal."""
    folder = Path(__file__).parent.parent / "fractal_dsl" / "cli"
    found = {file.name for file in folder.glob("*.py") if re.search(r"(?<![.\w])print\(", file.read_text("utf-8"))}
    assert found == {"say.py", "__init__.py"}
