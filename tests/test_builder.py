"""The Python builder: the same program as the text, its text again, and errors that point at lines of Python."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from msgspec import Struct
from msgspec.structs import replace

import fractal_dsl
import fractal_dsl.builder as fd
from fractal_dsl.builder.errors import BuilderError
from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.language.read import read
from fractal_dsl.language.source import Source, Span
from fractal_dsl.language.walk import names_in
from fractal_dsl.pipeline import check, parse
from fractal_dsl.program.dump import dump
from tests.support.effort import examples
from tests.support.programs import Program, programs
from tests.support.to_python import file_to_python

ROOT = Path(__file__).parents[1]
SPECS = [*sorted(ROOT.glob("examples/**/*.frac")), *sorted(ROOT.glob("fractal_dsl/language/std/*.frac"))]


def built(text: str, file: str = "<built>") -> fd.Spec:
    """The program that the Python source of a text builds."""
    source = file_to_python(parse(Source("spec.frac", text)))
    names: dict[str, Any] = {}
    exec(compile(source, file, "exec"), names)
    return names["spec"]


def plain(node: object) -> Any:
    """A tree without spans; chains of chains are one chain, as in Python."""
    if isinstance(node, tuple):
        return [plain(x) for x in node]
    if not isinstance(node, Struct):
        return node
    if isinstance(node, s.Where) and pruned(node) != node:
        return plain(pruned(node))
    fields = {f: getattr(node, f) for f in node.__struct_fields__ if not isinstance(getattr(node, f), Span)}
    if isinstance(node, s.Call) and isinstance(node.func, s.Name) and node.func.id == "drop_path":
        args = zip(node.args, ("local", "global", "columns"), strict=False)
        fields["args"] = tuple([replace(arg, name=arg.name or name) for arg, name in args])
    if isinstance(node, s.Flow | s.Columns):
        name = "steps" if isinstance(node, s.Flow) else "columns"
        while any(isinstance(part, type(node)) for part in fields[name]):
            parts = [getattr(part, name) if isinstance(part, type(node)) else (part,) for part in fields[name]]
            fields[name] = tuple([part for inner in parts for part in inner])
    return [type(node).__name__, *[plain(value) for value in fields.values()]]


def pruned(where: s.Where) -> s.Expr:
    """A body without the values that it does not need: Python drops what is not used."""
    needed, kept = names_in(where.body), list[s.Binding]()
    for value in reversed(where.values):
        if value.name.id in needed:
            kept.append(value)
            needed |= names_in(value.value)
    return replace(where, values=tuple(kept[::-1])) if kept else where.body


def declarations(file: s.File) -> list[Any]:
    """The declarations of a file, with the training settings at the end, where Python's are."""
    return [plain(d) for d in sorted(file.decls, key=lambda d: isinstance(d, s.TrainDecl))]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_examples_are_built_in_python(path: Path) -> None:
    source = read(path)
    spec = built(source.text, str(path))
    assert declarations(parse(Source("spec.frac", spec.to_frac()))) == declarations(parse(source))
    if "net " in source.text:
        ours, theirs = spec.compile(), check(source)[-1]
        assert dump(ours.program) == dump(theirs.program)
        assert ours.program.train == theirs.program.train


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(program=programs())
def test_programs_are_built_in_python(program: Program) -> None:
    note(program.text)
    text = built(program.text).to_frac()
    ours, theirs = Source("spec.frac", text), Source("spec.frac", program.text)
    if declarations(parse(ours)) != declarations(parse(theirs)):  # a loop has another name where it hid one
        nets = [[dump(net.program) for net in check(source, allow_python=True)] for source in (ours, theirs)]
        assert nets[0] == nets[1]


MODULES = [f"fractal_dsl.builder.{m.name}" for m in pkgutil.iter_modules(fd.__path__)]


@pytest.mark.parametrize("name", ["fractal_dsl.builder", *MODULES])
def test_examples_in_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_examples_of_the_guide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each block of Python runs after those above it; a block of text below one is what it prints."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(
        r"^```(\w+)\n(.*?)^```$", (ROOT / "docs" / "python.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    names: dict[str, Any] = {}
    printed = ""
    for number, (kind, text) in enumerate(blocks):
        if kind == "python":
            assert not printed, "a block prints what the guide does not show"
            file = tmp_path / f"block{number}.py"
            file.write_text(text)
            try:
                exec(compile(text, "net.py", "exec"), names)
            except (FracError, BuilderError) as error:
                print(f"{error}")
            printed = capsys.readouterr().out.strip()
        elif kind in ("frac", "text"):
            assert printed == text.strip()
            printed = ""


def test_torch_is_not_imported() -> None:
    code = "import sys, fractal_dsl.builder; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_numbers_are_written_in_their_shortest_form() -> None:
    values = [
        0,
        -3,
        10**15,
        0.5,
        -1e-9,
        1e300,
        True,
        "text",
        fd.percent(12.5),
        fd.prob(1 / 3),
        fd.prob(1e-7),
        fd.prob(1.0),
    ]
    for value in values:
        text = repr(fd.literal(value))
        decl = parse(Source("spec.frac", f"let x = {text}")).decls[0]
        assert isinstance(decl, s.Let)
        assert isinstance(value, fd.prob) or plain(decl.value) == plain(fd.literal(value).node), text
        if isinstance(decl.value, s.Literal):
            assert decl.value.value == value
    assert repr(fd.literal(fd.percent(12.5))) == "12.5%"


def test_an_error_points_at_its_line_of_python(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(
        "import fractal_dsl.builder as fd\n"
        "@fd.layer\n"
        "def conv(out: int):\n"
        "    return fd.conv2d(out, 3) >> fd.relu\n"
        "@fd.net(fd.f32[3, 8, 8], to=fd.f32[10])\n"
        "def Net(image):\n"
        "    return fd.sum(fd.id,\n"
        "        conv(3)) >> fd.flatten >> fd.linear(10)\n"
    )
    names: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    with pytest.raises(FracError) as caught:
        names["Net"].compile()
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.text().splitlines()[1:4] == [
        f"  --> {path}:8:9",
        "frac | net Net(image: f32[3, 8, 8]) -> f32[10] = sum(id, conv(3)) >> flatten >> linear(10)",
        "     |                                                   ^^^^^^^",
    ]
    found = diagnostic.json()
    assert (found["file"], found["line"], found["column"], found["end_column"]) == (str(path), 8, 9, 16)


def test_paths_are_relative_to_the_python_file(tmp_path: Path) -> None:
    (tmp_path / "parts.frac").write_text("layer conv(out: int) = conv2d(out, 3, padding=1) >> relu\n")
    path = tmp_path / "net.py"
    path.write_text(
        "import fractal_dsl.builder as fd\n"
        "conv = fd.from_('parts.frac', 'conv')\n"
        "@fd.net(fd.f32[3, 8, 8], to=fd.f32[4, 8, 8], train=fd.train(dataset='folder:images'))\n"
        "def Net(image):\n"
        "    return conv(4)\n"
    )
    names: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    net = names["Net"].compile()
    assert list(net.texts) == ["net.frac", "parts.frac"]
    assert net.program.train["dataset"] == {"name": "folder", "path": f"{tmp_path}/images"}


def deferred(body: Callable[[Any, Any], fd.Block]) -> fd.Net:
    @fd.net(fd.f32[8], to=fd.f32[8])
    def Net(x: Any) -> fd.Block:
        return body(columns, widths)

    return Net


columns = fd.param("columns", int, 3)
widths = fd.param("widths", list[int], [8, 8])
leaked: list[Any] = []


@fd.layer
def leak(out: int) -> fd.Block:
    leaked.append(out)
    return fd.linear(out)


@fd.rule(join=fd.mean)
def fractal(fractal: Any, n: Any, out: int) -> None:
    fractal[1] = fd.linear(out)
    fractal[n + 1] = fractal[n] >> fractal[n] | fd.linear(out)


def loop(columns: Any, widths: Any) -> fd.Block:
    block = fd.id
    for w in widths:
        block = block >> fd.linear(w)
    return block


def outside(columns: Any, widths: Any) -> fd.Block:
    kept: list[Any] = []
    [kept.append(w) for w in widths]  # type: ignore[func-returns-value]
    return fd.linear(kept[0])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda columns, widths: fd.relu if columns > 2 else fd.id, "write cases of a rule"),
        (lambda columns, widths: fd.seq(fd.relu for _ in range(columns)), "use `range` of fractal_dsl.builder"),
        (lambda columns, widths: fd.linear(len(widths)), "use `len` of fractal_dsl.builder"),
        (lambda columns, widths: fd.seq(fd.linear(w) for w, _ in zip(widths, widths)), "use `zip`"),  # noqa: B905
        (lambda columns, widths: fd.seq(fd.linear(w) for _, w in enumerate(widths)), "use `zip`, `enumerate`"),
        (lambda columns, widths: fd.seq(*widths), "write a comprehension"),
        (lambda columns, widths: fd.linear(widths[1:]), "no slices"),
        (lambda columns, widths: fd.relu.tag(f"block{columns}"), "a text cannot contain it"),
        (lambda columns, widths: fd.linear(None), "leave the argument out"),
        (lambda columns, widths: fd.linear(float("inf")), "finite"),
        (lambda columns, widths: fd.relu.tag('a "b"'), "no quotation mark"),
        (lambda columns, widths: fd.seq([fd.linear(8) for _ in widths]), "write `literal"),
        (lambda columns, widths: fd.seq(fd.linear(w + v) for w in widths for v in widths), "one loop over one list"),
        (lambda columns, widths: fd.seq(fd.linear(w) for w in widths if True), None),
        (lambda columns, widths: fd.seq(fd.linear(w) for w in widths if w > 3), "write cases of a rule"),
        (lambda columns, widths: leak(8) >> fd.linear(leaked[-1]), "is used outside it"),
        (lambda columns, widths: 3, "must return a block"),
        (lambda columns, widths: fractal(8), r"the rule `fractal` needs a level, such as fractal\[3\]"),
        (loop, "statements cannot loop"),
        (outside, "is used outside it|is not used"),
    ],
)
def test_what_the_language_cannot_say_is_refused(body: Any, message: str | None) -> None:
    leaked[:] = [fd.param("other", int, 1)]
    if message is None:
        assert deferred(body).to_frac()
        return
    deferred(lambda columns, widths: leak(8)).to_frac()
    with pytest.raises(BuilderError, match=message):
        deferred(body).to_frac()


def test_a_net_tells_its_name_and_is_compiled_before_it_is_built() -> None:
    net = deferred(lambda columns, widths: fd.linear(8))
    assert repr(net) == "net Net"
    for wrong in (net, "net.frac"):
        with pytest.raises(TypeError, match=r"build needs a compiled net, not .*compile\(\)"):
            fractal_dsl.build(wrong)  # type: ignore[arg-type]


def test_names_that_would_hide_others_are_refused() -> None:
    @fd.layer
    def conv(relu: int) -> fd.Block:
        return fd.linear(relu) >> fd.relu

    with pytest.raises(BuilderError, match="the parameter `relu` of `conv` hides `relu` of the language"):
        deferred(lambda columns, widths: conv(8)).to_frac()

    @fd.layer
    def relu() -> fd.Block:
        return fd.linear(8)

    with pytest.raises(BuilderError, match="hides the built-in `relu`"):
        deferred(lambda columns, widths: relu >> fd.relu).to_frac()

    first, second = fd.let("part", fd.linear(8)), fd.let("part", fd.relu)
    with pytest.raises(BuilderError, match="`part` is declared in "):
        deferred(lambda columns, widths: first >> second).to_frac()


def test_variables_of_loops_get_names_that_hide_nothing() -> None:
    w = fd.param("w", int, 8)
    renamed = fd.literal([width * w for width in widths])
    assert repr(renamed) == "[width * w for width in widths]"
    outer = w

    def values() -> Sequence[int]:
        return [outer * w for w in widths]

    assert repr(fd.literal(values())) == "[w * w1 for w1 in widths]"


def test_rules_may_use_each_other_and_what_is_below_them() -> None:
    @fd.rule(join=fd.mean)
    def A(A: Any, n: int) -> None:
        A[1] = fd.linear(8)
        A[n + 1] = B[n] >> A[n] | fd.linear(8)

    @fd.rule(join=fd.sum)
    def B(B: Any, n: int) -> None:
        B[1] = fd.relu
        B[n + 1] = A[n] | B[n]

    assert deferred(lambda columns, widths: A[4]).compile().summary.depth


def test_values_are_one_tensor() -> None:
    @fd.layer
    def osa(out: int) -> fd.Block:
        a = fd.value("a", fd.linear(out))
        b = fd.value("b", a >> fd.linear(out))
        fd.value("unused", b >> fd.relu)
        return fd.concat(fd.id, a, b)

    text = deferred(lambda columns, widths: osa(8) >> fd.linear(8)).to_frac()
    assert "concat(id, a, b) where a = linear(out), b = a >> linear(out)" in text

    once = fd.value("once", fd.linear(8))
    first, second = (fd.layer(named(name, lambda: once >> fd.relu)) for name in ("first", "second"))
    deferred(lambda columns, widths: first).to_frac()
    with pytest.raises(BuilderError, match="the value `once` belongs to one body"):
        deferred(lambda columns, widths: first >> second).to_frac()

    twins = fd.value("a", fd.linear(8)), fd.value("a", fd.relu)
    with pytest.raises(BuilderError, match="`a` is also the value of"):
        fd.let("both", fd.sum(*twins))
    relu = fd.value("relu", fd.linear(8))
    with pytest.raises(BuilderError, match="the value `relu` hides `relu` of the language"):
        fd.let("hidden", fd.sum(relu, fd.relu))


def named(name: str, function: Callable[[], fd.Block]) -> Callable[[], fd.Block]:
    function.__name__ = name
    return function


def test_the_warnings_of_a_net_point_at_python() -> None:
    @fd.net(fd.f32[8], to=fd.f32[8], options=[fd.drop_path(local=fd.percent(10))])
    def Net(x: Any) -> fd.Block:
        return fd.linear(8)

    (warning,) = Net.compile().warnings
    assert "tests/test_builder.py" in warning.text()
