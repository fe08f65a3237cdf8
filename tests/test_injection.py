"""What others name their files, nets, tags, classes and settings never becomes code, markup or a terminal command."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import example, given, settings

from fractal_dsl.base.escaping import one_line
from fractal_dsl.language.source import Source
from fractal_dsl.pipeline import check, pick
from fractal_dsl.runtime import build
from fractal_dsl.runtime.artifact import load_artifact, model_source, save_artifact
from tests.support.effort import examples
from tests.test_escaping import hostile

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
    if '"' in note or "\n" in note:
        note = note.replace('"', "'").replace("\n", " ")
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
    for part in ("needs torch only", "also needs safetensors", "no drop-path", 'those of `init("xavier")`'):
        assert part in text
    plain = pick(check(Source("spec.frac", "net N(x: f32[3]) -> f32[3] = linear(3)")), None)
    text = ast.get_docstring(ast.parse(model_source(plain, plain.graph))) or ""
    assert "drop-path" not in text and "init(" not in text
