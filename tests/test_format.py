"""The formatter: the same tree, the same comments, and a fixed point after one pass."""

from __future__ import annotations

import random
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.lark import from_lark
from lark import Lark

from fractal_dsl import syntax as s
from fractal_dsl.diagnostics import FracError
from fractal_dsl.driver import parse
from fractal_dsl.grammar_file import grammar_path
from fractal_dsl.source import Source, Span
from fractal_dsl.syntax_to_text import WIDTH, syntax_to_text
from fractal_dsl.text_to_syntax import KEYWORDS, TERMINALS

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.frac"))
GOLDEN = Path(__file__).parent / "golden"


def strict() -> Lark:
    return Lark(grammar_path().read_text("utf-8"), parser="lalr", lexer="basic", strict=True, start="start")


def tree(node: object) -> object:
    """A tree without its spans."""
    if isinstance(node, tuple):
        return [tree(x) for x in node]
    if not is_dataclass(node):
        return node
    skip = {"span", "head", "source", "comments"}
    return [type(node).__name__, *[tree(getattr(node, f.name)) for f in fields(node) if f.name not in skip]]


def parsed(text: str) -> s.File:
    return parse(Source("spec.frac", text))


def words(file: s.File) -> list[str]:
    """All words of the comments: two of them may end on one line, and are one then."""
    return sorted(" ".join(c.text for c in file.comments).split())


def assert_formats(text: str) -> str:
    before = parsed(text)
    formatted = syntax_to_text(before)
    after = parsed(formatted)
    assert tree(after) == tree(before)
    assert words(after) == words(before)
    assert syntax_to_text(after) == formatted
    return formatted


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
    "PROB": st.sampled_from([" 15% ", " 2.5% "]),
    "STRING": st.sampled_from([' "x" ', ' "" ']),
    "SPACE": st.sampled_from([" ", "\n", "\n\n"]),
    "COMMENT": st.sampled_from([" # one\n", "\n# two\n", "\n\n## three \n"]),
}


@settings(max_examples=150)
@given(text=from_lark(strict(), start="start", explicit=_PIECES))
def test_whatever_the_grammar_generates(text: str) -> None:
    try:
        parsed(text)
    except FracError:
        assume(False)
    assert_formats(text)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_examples_are_formatted(path: Path) -> None:
    text = path.read_text("utf-8")
    assert assert_formats(text) == text


@pytest.mark.parametrize("seed", range(40))
def test_comments_anywhere_stay(seed: int) -> None:
    """Examples with comments dropped between any two words."""
    rng = random.Random(seed)
    text = rng.choice(EXAMPLES).read_text("utf-8")
    from fractal_dsl.diagnostics import Report
    from fractal_dsl.text_to_syntax.lexer import lex

    source = Source("spec.frac", text)
    tokens, _ = lex(source, Report(source))
    for token in sorted(rng.sample(tokens, 5), key=lambda t: -(t.start_pos or 0)):
        at = token.start_pos or 0
        text = text[:at] + rng.choice([f" # c{at}\n", f"\n# c{at}\n", f"\n\n# c{at}\n\n"]) + text[at:]
    assert_formats(text)


def test_golden() -> None:
    text = (GOLDEN / "format_before.frac").read_text("utf-8")
    formatted = assert_formats(text)
    after = GOLDEN / "format_after.frac"
    if not after.exists():
        after.write_text(formatted, "utf-8")
    assert formatted == after.read_text("utf-8")
    assert max(map(len, formatted.splitlines())) <= WIDTH


def test_spans_of_the_tree_lie_in_the_text() -> None:
    file = parsed(EXAMPLES[0].read_text("utf-8"))
    assert all(isinstance(d.span, Span) and d.span.end <= len(file.source.text) for d in file.decls)
