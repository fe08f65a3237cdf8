"""Imports, the standard library, and parameters of imported files."""

from __future__ import annotations

from pathlib import Path

import pytest

from fractal_dsl.base.errors import UserError
from fractal_dsl.compiled import Compiled
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.language.source import Source
from fractal_dsl.pipeline import check, compile_file, compile_text
from fractal_dsl.runtime import build
from fractal_dsl.runtime.artifact import load_artifact, save_artifact

BASE = """
from "../util.frac" import kernel
## How many columns
param columns: int = 3 in 1..5
layer conv(out: int) = conv2d(out, kernel, padding=kernel // 2)
rule F(out: int) join mean {
    F[1]   = conv(out)
    F[n+1] = F[n] >> F[n] | conv(out)
}
net Unused(x: f32[1]) -> f32[1] = id
"""
MAIN = """
import "parts/base.frac" as base
import "parts/base.frac" as other
from "parts/base.frac" import F, conv as c
net A(x: f32[3, 8, 8]) -> f32[4, 8, 8] = base.F[base.columns](4) >> other.F[other.columns](4) >> F[2](4) >> c(4)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "spec").mkdir()
    (tmp_path / "spec" / "parts").mkdir()
    (tmp_path / "spec" / "main.frac").write_text(MAIN)
    (tmp_path / "spec" / "parts" / "base.frac").write_text(BASE)
    (tmp_path / "spec" / "util.frac").write_text("let kernel = 3")
    return tmp_path / "spec"


def errors(path: Path) -> list[tuple[str, str, int]]:
    with pytest.raises(FracError) as caught:
        compile_file(path)
    return [(d.code, Path(d.source.name).name, d.source.position(d.span.start)[0]) for d in caught.value.diagnostics]


def test_each_name_of_a_file_has_parameters_of_its_own(folder: Path) -> None:
    assert compile_file(folder / "main.frac").summary.base_layers == 7 + 7 + 3
    compiled = compile_file(folder / "main.frac", {"base.columns": "4", "other.columns": "1"})
    assert compiled.summary.base_layers == 15 + 1 + 3


def test_a_shared_block_is_one_however_it_is_imported(folder: Path) -> None:
    (folder / "a.frac").write_text("param w: int = 8\nshared s = linear(w)\nlet l = s\nlayer k = s")
    (folder / "b.frac").write_text('import "a.frac" as a\nlayer via = a.s')
    (folder / "main.frac").write_text(
        'import "a.frac" as a\nimport "a.frac" as again\nimport "b.frac" as b\nfrom "a.frac" import s, l\n'
        "net N(x: f32[8]) -> f32[8] = a.s >> a.l >> a.k >> again.s >> b.via >> s >> l"
    )
    assert compile_file(folder / "main.frac").summary.params == 72
    apart = compile_file(folder / "main.frac", {"again.w": "8"})
    assert apart.summary.params == 2 * 72, "with a value of its own, an import is a file of its own"
    for params, message in (({"again.v": "8"}, "did you mean `again.w`"), ({"b.a.v": "8"}, "did you mean `b.a.w`")):
        with pytest.raises(FracError, match=message):
            compile_file(folder / "main.frac", params)


def test_unknown_and_wrong_parameters_of_imported_files(folder: Path) -> None:
    for params, message in (
        ({"base.colums": "4"}, "did you mean `base.columns`?"),
        ({"base.columns": "9"}, "`base.columns` must be in 1..5, found 9"),
        ({"columns": "3"}, "there is no parameter `columns`"),
    ):
        with pytest.raises(FracError, match=message.replace("?", r"\?")):
            compile_file(folder / "main.frac", params)


def test_errors_are_told_in_the_file_that_they_are_in(folder: Path) -> None:
    (folder / "util.frac").write_text("let kernel = 3\nlet a = b\nlayer x = conv2d(")
    (folder / "parts" / "base.frac").write_text(BASE.replace("conv2d(out,", "conv2d(out, 3.5,"))
    found = errors(folder / "main.frac")
    assert ("E0201", "util.frac", 2) in found and ("E0103", "util.frac", 3) in found
    assert any(name == "base.frac" and line == 5 for _, name, line in found)


def test_shape_errors_inside_imported_rules_have_their_trail(folder: Path) -> None:
    (folder / "util.frac").write_text("let kernel = 2")
    with pytest.raises(FracError) as caught:
        compile_file(folder / "main.frac")
    first = caught.value.diagnostics[0]
    assert first.code == "E0501" and first.source.name.endswith("base.frac")
    assert first.trail == ("F[2]", "F[3]", "net A")


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ('import "nowhere.frac" as m', "E0801", "there is no file"),
        ('import "util.frc" as m', "E0801", "did you mean `util.frac`"),
        ('import "../outside.frac" as m', "E0803", "outside"),
        ('import "parts/../../outside.frac" as m', "E0803", "outside"),
        ('import "/etc/passwd" as m', "E0803", "is an absolute path"),
        ('import "C:/util.frac" as m', "E0803", "is an absolute path"),
        ('import "parts\\base.frac" as m', "E0803", "separate folders by `/`"),
        ('import "" as m', "E0803", "write a path relative to this folder"),
        ('import "util" as m', "E0801", "did you mean `util.frac`"),
        ('import "link.frac" as m', "E0803", "outside"),
        ('import "std:cn" as m', "E0804", "did you mean `std:cnn`"),
        ('import "std:../cnn" as m', "E0804", "no `std:../cnn`"),
        ('from "util.frac" import kernal', "E0805", "did you mean `kernel`"),
        ('import "util.frac" as m\nlet a = m.kernal', "E0805", "did you mean `kernel`"),
        ('import "util.frac" as m\nlet a = m', "", ""),
        ('import "util.frac" as m\nlayer a = m >> relu', "E0301", "found file"),
        ('import "util.frac" as m\nlet m = 3', "E0202", "already declared"),
        ('import "main.frac" as m', "E0802", "import each other"),
        ('import "noise.frac" as m', "E0801", "UTF-8"),
    ],
)
def test_what_is_refused(folder: Path, text: str, code: str, message: str) -> None:
    (folder.parent / "outside.frac").write_text("let secret = 1")
    (folder / "link.frac").symlink_to(folder.parent / "outside.frac")
    (folder / "noise.frac").write_bytes(b"\xff\xfe\xff")
    (folder / "main.frac").write_text(text)
    source = Source.read(folder / "main.frac")
    if not code:
        check(source)
        return
    with pytest.raises(FracError) as caught:
        check(source)
    assert [d.code for d in caught.value.diagnostics] == [code]
    assert message in str(caught.value)


def test_a_circle_is_shown_as_a_circle(folder: Path) -> None:
    (folder / "util.frac").write_text('from "parts/base.frac" import F\nlet kernel = 3')
    with pytest.raises(FracError, match=r"parts/base\.frac -> \.\./util\.frac -> parts/base\.frac"):
        compile_file(folder / "main.frac")


def test_deep_imports_are_limited(tmp_path: Path) -> None:
    for i in range(60):
        (tmp_path / f"m{i}.frac").write_text(f'import "m{i + 1}.frac" as m')
    assert [code for code, _, _ in errors(tmp_path / "m0.frac")] == ["E0602"]


def test_a_text_has_the_standard_library_only() -> None:
    compiled = compile_text('from "std:cnn" import conv_bn\nnet N(x: f32[3, 8, 8]) -> f32[4, 8, 8] = conv_bn(4)')
    assert compiled.summary.params == 3 * 4 * 9 + 8
    with pytest.raises(FracError, match="a path is relative to a file"):
        compile_text('import "x.frac" as x')


STANDARD = {
    "fractal": ("fractal[3](conv2d(4, 3, padding=1))", 7, 4),
    "triple": ("triple[3](conv2d(4, 3, padding=1))", 13, 9),
    "fibonacci": ("fibonacci[5](conv2d(4, 3, padding=1))", 15, 8),
    "chain": ("chain[9](conv2d(4, 3, padding=1))", 9, 9),
}


@pytest.mark.parametrize("name", STANDARD)
def test_standard_rules(name: str) -> None:
    body, base_layers, depth = STANDARD[name]
    text = f'from "std:fractal" import {name}\nnet N(x: f32[4, 8, 8]) -> f32[4, 8, 8] = {body}'
    summary = compile_text(text).summary
    assert (summary.base_layers, summary.depth) == (base_layers, depth)


def test_artifact_carries_what_it_imports(folder: Path, tmp_path: Path) -> None:
    import torch

    compiled: Compiled = compile_file(folder / "main.frac", {"base.columns": "2"})
    model = build(compiled, 1).eval()
    save_artifact(compiled, model, tmp_path / "net")
    for file in ("main.frac", "util.frac", "parts/base.frac"):
        (folder / file).unlink()
    again = load_artifact(tmp_path / "net")
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(again(x), model(x))
    (tmp_path / "net" / "spec" / "parts" / "base.frac").write_text("let a = 1")
    with pytest.raises(UserError, match=r"parts/base\.frac"):
        load_artifact(tmp_path / "net")
