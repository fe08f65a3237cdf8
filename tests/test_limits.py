"""Short texts that would take a machine's time or memory are refused at once, and what is near the limits is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fractal_dsl.compiled import Compiled
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.language.source import Source
from fractal_dsl.pipeline import check, compile_text
from fractal_dsl.program.literals import literal
from fractal_dsl.program.syntax_to_program.limits import MAX_ELEMENTS, MAX_STEPS

NET = "\nnet N(x: f32[8]) -> f32[8] = "


def doubled(name: str, first: str, times: int) -> str:
    lines = [f"let {name}{i + 1} = [{name}{i}, {name}{i}]" for i in range(times)]
    return "\n".join([f"let {name}0 = {first}", *lines, ""])


ELEMENTS, STEPS = f"more than {MAX_ELEMENTS:,} elements", f"more than {MAX_STEPS:,} steps"
BIG = "let big = [i for i in range(10_000)]\n"
NAMED = ", ".join(["big"] * 9000)
HALVES = "\n".join(f"layer f{i + 1}(a: float) = f{i}(a / 2.0) >> f{i}(a / 2.0 + 1.0)" for i in range(40))
MONSTROUS = {
    "lists in a list": ("let a = [[i for i in range(10_000)] for j in range(10_000)]" + NET + "id", STEPS),
    "blocks in blocks": (NET + "seq(seq(relu for i in range(10_000)) for j in range(10_000))", STEPS),
    "equal lists": (doubled("a", "[1]", 30) + doubled("b", "[1]", 30) + "let e = a30 == b30" + NET + "id", ELEMENTS),
    "empty lists": (doubled("a", "[]", 30) + NET + "id", ELEMENTS),
    "equal many times": (
        f"{doubled('a', '[1]', 14)}{doubled('b', '[1]', 14)}let e = [a14 == b14 for i in range(10_000)]{NET}id",
        STEPS,
    ),
    "deep lists": (
        "let a0 = [1]\n" + "\n".join(f"let a{i + 1} = [a{i}]" for i in range(2000)) + NET + "id",
        "deeper than 40",
    ),
    "a rule with arguments that differ": (
        "rule F(a: float) { F[1] = leakyrelu(a)  F[n+1] = F[n](a / 2.0) >> F[n](a / 2.0 + 1.0) }" + NET + "F[60](1.0)",
        STEPS,
    ),
    "layers with arguments that differ": (f"layer f0(a: float) = leakyrelu(a)\n{HALVES}{NET}f40(1.0)", STEPS),
    "long arguments": (f"{BIG}layer f(a: [int]) = relu{NET}seq(f(big) for i in range(10_000))", STEPS),
    "long defaults": (f"{BIG}layer f(a: [int] = big) = relu{NET}seq(f() for i in range(10_000))", STEPS),
    "zipped": (f"{BIG}let z = zip({NAMED}){NET}id", STEPS),
    "branches": (f"let big = [relu for i in range(10_000)]{NET}sum({NAMED})", STEPS),
    "put together": (f"{BIG}let z = [len(big + [1]) for j in range(10_000)]{NET}id", "10,001"),
    "repeated": (NET + "seq((relu ** 200_000) ** 0 for i in range(10_000))", STEPS),
    "unknown names": ("\n".join(f"let a{i} = b{i}" for i in range(3000)) + NET + "id", "unknown name `b0`"),
    "an unknown name in a loop": ("let r = [foo for i in range(10_000)]" + NET + "id", "unknown name `foo`"),
}


@pytest.mark.parametrize(("text", "message"), MONSTROUS.values(), ids=MONSTROUS)
def test_what_would_never_end_is_refused(text: str, message: str) -> None:
    with pytest.raises(FracError, match=message):
        check(Source("spec.frac", text))


def test_so_are_values_on_the_command_line() -> None:
    text = "[len([j for j in range(10_000)]) for i in range(10_000)]"
    assert literal(text, "--set") == text


def test_errors_beside_one_without_an_end_are_told_too() -> None:
    text = "let a = b\n" + MONSTROUS["blocks in blocks"][0]
    with pytest.raises(FracError) as caught:
        check(Source("spec.frac", text))
    assert [d.code for d in caught.value.diagnostics] == ["E0201", "E0602"]


@pytest.mark.parametrize(
    "text",
    [
        "layer c(w: int) = linear(w) >> relu" + NET + "seq(c(8) for i in range(10_000))",
        "let p = zip(range(10_000), reversed(range(10_000)))\nlet e = enumerate(p)" + NET + "id",
        NET + "(relu ** 100_000) ** 2",
        doubled("a", "[1]", 15) + doubled("b", "[1]", 15) + "let e = a15 == b15" + NET + "id",
    ],
    ids=["a long chain", "long lists", "repetition", "equal lists"],
)
def test_what_is_long_is_taken(text: str) -> None:
    checked = check(Source("spec.frac", text))
    assert isinstance(checked[0], Compiled)


@pytest.mark.slow
def test_a_net_that_this_machine_cannot_hold_is_told(tmp_path: Path) -> None:
    spec = tmp_path / "spec.frac"
    spec.write_text("net N(x: f32[5]) -> f32[2_000_000_000] = linear(2_000_000_000)")
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30,) * 2)\n"
        f"sys.argv = ['fractal-dsl', 'compile', {str(spec)!r}, '-o', {str(tmp_path / 'out')!r}]\n"
        "from fractal_dsl.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: out of memory")


# --- lists are of one type, and a call without arguments is the block


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ('[1, true, "a", id]', "the first is int, this is bool"),
        ('["a", relu]', "the first is str, this is block"),
        ("[[1], [true]]", r"the first is \[int\], this is \[bool\]"),
        ("[1, [1]]", r"the first is int, this is \[int\]"),
        ('[1] + ["a"]', "the first is int, this is str"),
    ],
)
def test_lists_are_of_one_type(expression: str, found: str) -> None:
    with pytest.raises(FracError, match=found) as caught:
        compile_text(f"let a = {expression}{NET}id")
    assert [d.code for d in caught.value.diagnostics] == ["E0301"]


def test_numbers_and_empty_lists_mix() -> None:
    text = "let a = [1, 0.5, 10%]\nlet b = [[], [1], [0.5]]\nlet c = [id, relu, linear(4), F[1]]\n"
    compile_text(text + "rule F { F[1] = id }\nlayer f(w: int) = seq([linear(w), relu])" + NET + "f(8)")


def test_a_call_without_arguments_is_the_block() -> None:
    text = "let a = relu\nlayer f(b: block) = b() >> b" + NET + "a() >> f(linear(8)) >> f(relu)()"
    assert compile_text(text).summary.weighted_layers == 2
