"""The formatter: the same tree, the same comments, and a fixed point after one pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.lark import from_lark
from lark import Lark
from msgspec import Struct

import fractal_dsl
from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.language.grammar_file import grammar_path
from fractal_dsl.language.source import Source, Span
from fractal_dsl.language.syntax_to_text import WIDTH, syntax_to_text
from fractal_dsl.language.text_to_syntax import KEYWORDS, TERMINALS
from fractal_dsl.language.text_to_syntax.parser import lark
from fractal_dsl.language.text_to_syntax.words import OPEN
from fractal_dsl.pipeline import parse
from tests.support.effort import examples
from tests.support.programs import Program, programs

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.frac"))
STD = sorted((Path(fractal_dsl.__file__).parent / "language" / "std").glob("*.frac"))
FORMATTED = [*EXAMPLES, *STD]
GOLDEN = Path(__file__).parent / "golden"


def strict() -> Lark:
    return Lark(grammar_path().read_text("utf-8"), parser="lalr", lexer="basic", strict=True, start="start")


def tree(node: object) -> object:
    """A tree without its spans."""
    if isinstance(node, tuple):
        return [tree(x) for x in node]
    if not isinstance(node, Struct):
        return node
    skip = {"span", "head", "source", "comments"}
    return [type(node).__name__, *[tree(getattr(node, f)) for f in node.__struct_fields__ if f not in skip]]


def parsed(text: str) -> s.File:
    return parse(Source("spec.frac", text))


def own_lines(file: s.File) -> list[str]:
    """The comments on lines of their own."""
    text = file.source.text
    return [c.text.rstrip() for c in file.comments if not text[: c.span.start].rpartition("\n")[2].strip()]


def brackets(file: s.File) -> list[str]:
    """The open brackets around each comment."""
    around = ""
    found: list[str] = []
    for token in lark().lex(file.source.text, dont_ignore=True):
        if token.type == "COMMENT":
            found.append(around)
        elif token.type in OPEN:
            around += token
        elif token.type in OPEN.values():
            around = around[:-1]
    return found


def assert_formats(text: str) -> str:
    before = parsed(text)
    formatted = syntax_to_text(before)
    after = parsed(formatted)
    assert tree(after) == tree(before)
    assert [c.text.rstrip() for c in after.comments] == [c.text.rstrip() for c in before.comments]
    # a comment behind a needless word may get a line of its own, but never the other way round
    assert {*own_lines(after)} >= {*own_lines(before)}
    assert syntax_to_text(after) == formatted
    return formatted


def assert_comments_stay(text: str) -> None:
    """A text that would be formatted but for its comments."""
    before, after = parsed(text), parsed(assert_formats(text))
    assert own_lines(after) == own_lines(before)
    assert brackets(after) == brackets(before)


def test_grammar_is_lalr_and_strict() -> None:
    assert strict().parse("frac 1 let x = 3")


def test_every_terminal_has_a_human_name() -> None:
    names = {t.name for t in strict().terminals}
    assert names | {"$END"} == TERMINALS.keys()
    assert {t.pattern.value for t in strict().terminals if t.pattern.type == "str" and t.pattern.value.isalpha()} == {
        *KEYWORDS
    }


_WORDS = {k.upper(): st.just(f" {k} ") for k in KEYWORDS}
_PIECES = {
    **_WORDS,
    "NAME": st.sampled_from([" a ", " conv ", " F ", " n "]),
    "INT": st.sampled_from([" 1 ", " 64 ", " 1_000 "]),
    "FLOAT": st.sampled_from([" 0.5 ", " 1e-3 "]),
    "PROB": st.sampled_from([" 15% ", " 2.5% ", "12.5%"]),
    "STRING": st.sampled_from([' "x" ', ' "" ']),
    "SPACE": st.sampled_from([" ", "\n", "\n\n"]),
    "COMMENT": st.sampled_from([" # one\n", "\n# two\n", "\n\n## three \n"]),
}


@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.filter_too_much])
@given(text=from_lark(strict(), start="start", explicit=_PIECES))
def test_whatever_the_grammar_generates(text: str) -> None:
    try:
        parsed(text)
    except FracError:
        assume(False)
    assert_formats(text)


@pytest.mark.parametrize("path", FORMATTED, ids=lambda p: p.stem)
def test_examples_are_formatted(path: Path) -> None:
    text = path.read_text("utf-8")
    assert assert_formats(text) == text


def commented(draw: Callable[[st.SearchStrategy[Any]], Any], text: str) -> str:
    """A text with one to four comments between its words, on lines of their own and not."""
    words = [t for t in lark().lex(text, dont_ignore=True) if t.type not in ("SPACE", "COMMENT")]
    places = draw(st.lists(st.integers(0, len(words)), min_size=1, max_size=4))
    for i, place in enumerate(sorted(places, reverse=True)):
        at = words[place].start_pos if place < len(words) else len(text)
        before, mark, behind = draw(st.tuples(*map(st.sampled_from, ([" ", "\n", "\n\n"], ["#", "##"], ["", "\n"]))))
        text = f"{text[:at]}{before}{mark} {i}\n{behind}{text[at:]}"
    return text


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_comments_anywhere_stay(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(FORMATTED)).read_text("utf-8")
    assert_comments_stay(commented(data.draw, text))


@settings(max_examples=examples(12), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data(), program=programs())
def test_comments_anywhere_in_programs_stay(data: st.DataObject, program: Program) -> None:
    assert_formats(commented(data.draw, program.text))
    assert_comments_stay(commented(data.draw, syntax_to_text(parsed(program.text))))


@pytest.mark.parametrize(
    "text",
    [
        "let q = 2 # a\n# b\n+ 3\n",
        "let q = 2 **# a\n# b\n 3",
        "let a = b[# a\n- #\n1]",
        "layer conv(out: # a\n# b\nint) = relu",
        "train {\n# only\n}",
        "train { # here\n# only\n}",
        "rule F {\n# only2\n}",
        "let a = seq(\n# c\n)",
        "let a = [\n# c\n]",
        "layer f(\n# c\n) = relu",
        "let a = relu @tag(\n# c\n)",
        "net N\n# c1\n(x: f32[8])\n# c2\n -> f32[8] = relu",
        "net N # a\n(x: f32[8]) -> f32[8] with init(1) = relu",
        "# top\n\n# top2\n\nfrac 1\nlet x = 1",
        "let a = (b # a\n)\nlet c = 1",
        "let a = (\n## a\nb\n## c\n)\nlet c = 1",
        "let a = ((b # a\n) # c\n) * (# d\n(c + 1))",
        'let a = ["(", # )\n")"]',
        "let a = [1, 2 # a\n, # b\n 3]",
        "let a = b # a\n>> # b\nc",
        "let a = f((x)(# a\n(y)), (z # b\n))",
        'from "a.frac" import # a\nb # b\n, c as # c\nd',
        "param p # a\n: # b\nint = # c\n3 in # d\n{1, # e\n2 # f\n}",
    ],
)
def test_comments_keep_their_places(text: str) -> None:
    assert_comments_stay(text)


def test_golden() -> None:
    text = (GOLDEN / "format_before.frac").read_text("utf-8")
    formatted = assert_formats(text)
    after = GOLDEN / "format_after.frac"
    if not after.exists():
        after.write_text(formatted, "utf-8")
    assert formatted == after.read_text("utf-8")
    assert max(map(len, formatted.splitlines())) <= WIDTH


def test_signs_and_brackets_that_hold_comments() -> None:
    assert syntax_to_text(parsed("let a = ((b)) >> # c\n d")) == "let a =\n    b  # c\n    >> d\n"
    assert syntax_to_text(parsed("let a = (b # c\n)")) == "let a =\n    (\n        b  # c\n    )\n"
    assert syntax_to_text(parsed("train{\n# c\n}")) == "train {\n    # c\n}\n"
    assert syntax_to_text(parsed("let a=f(b#c\n,d,)")) == "let a = f(\n    b,  #c\n    d\n)\n"


def test_deep_texts() -> None:
    """Parentheses that are needless but for the parser's limit on words that follow each other stay."""
    right = "let a = " + ("1" + "-1" * 44 + "-(") * 12 + "1-1" + ")" * 12
    left = "let a = " + "(" * 12 + "1" + ("-1" * 44 + ")") * 12
    for text in (right, left):
        formatted = syntax_to_text(parsed(text))
        assert "".join(formatted.split()) == text.replace(" ", "")
        assert syntax_to_text(parsed(formatted)) == formatted


def test_spans_of_the_tree_lie_in_the_text() -> None:
    file = parsed(EXAMPLES[0].read_text("utf-8"))
    assert all(isinstance(d.span, Span) and d.span.end <= len(file.source.text) for d in file.decls)
