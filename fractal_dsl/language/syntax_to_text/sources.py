"""What the layout asks about the source of a tree: how literals are written, which parentheses and comments it has.

A tree that was parsed has a text (``Written``). A tree that Python built has none (``Unwritten``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Source, Span
from fractal_dsl.language.syntax_to_text.comments import Gap, Word
from fractal_dsl.language.syntax_to_text.layout import Infix, Paren

_SPACE = re.compile(r"\s|#[^\n]*")
_PARENTHESIS = re.compile(r'"[^"\n]*"|#[^\n]*|[()]')


class Written:
    """A source with its comments and its matching brackets."""

    def __init__(self, source: Source, comments: Sequence[s.Comment], *, all: bool = False) -> None:
        """``all`` keeps redundant parentheses, too."""
        self.text, self.base, self.all = source.text, source.base, all
        self.comments = {c.span.start - self.base: c for c in comments}
        self._starts = {c.span.end - self.base: c.span.start - self.base for c in comments}
        self._calls: set[int] = set()
        self._closes: dict[int, int] = {}
        opened: list[int] = []
        for match in _PARENTHESIS.finditer(self.text):
            if match[0] == "(":
                opened.append(match.start())
            elif match[0] == ")":
                self._closes[opened.pop()] = match.start()
        self._opens = {close: opening for opening, close in self._closes.items()}

    def _before(self, at: int) -> int:
        """The offset of the last character before ``at`` that is neither white space nor comment."""
        while True:
            at -= 1
            if at + 1 in self._starts:
                at = self._starts[at + 1]
            elif at < 0 or not self.text[at].isspace():
                return at

    def _after(self, at: int) -> int:
        """The offset of the first character from ``at`` on that is neither white space nor comment."""
        while at < len(self.text):
            if at in self.comments:
                at += len(self.comments[at].text)
            elif self.text[at].isspace():
                at += 1
            else:
                break
        return at

    def slice(self, span: Span) -> str:
        """The text of a span."""
        return self.text[span.start - self.base : span.end - self.base]

    def literal(self, literal: s.Literal) -> str:
        """A literal as it is written."""
        return self.slice(literal.span)

    def head(self, case: s.Case) -> str:
        """The head of a case without white space and comments."""
        return _SPACE.sub("", self.slice(case.head))

    def called(self, call: s.Call | s.Annotated) -> None:
        """Note that the last parentheses of a call belong to it, and not to an argument."""
        self._calls.add(self._opens[call.span.end - self.base - 1])

    def parentheses(self, expr: s.Expr, *, needed: bool) -> list[int]:
        """The offsets of the opening parentheses around an expression that must stay, innermost first."""
        start, end = expr.span.start - self.base, expr.span.end - self.base
        kept: list[int] = []
        first = None
        while True:
            opening, closing = self._before(start), self._after(end)
            if opening in self._calls or self._closes.get(opening) != closing:
                break
            first = opening if first is None else first
            if self.all or self._remarked(opening + 1, start) or self._remarked(end, closing):
                kept.append(opening)
            start, end = opening, closing + 1
        return [first] if not kept and first is not None and needed else kept

    def remarked_call(self, call: s.Annotated) -> bool:
        """Whether an annotation has a pair of parentheses that contains only comments."""
        return self._holds_remarks(self._opens.get(call.span.end - self.base - 1, -1))

    def remarked_signature(self, name: s.Name) -> bool:
        """Whether a name precedes a pair of parentheses that contains only comments."""
        return self._holds_remarks(self._after(name.span.end - self.base))

    def _holds_remarks(self, opening: int) -> bool:
        return opening in self._closes and self._remarked(opening + 1, self._closes[opening])

    def _remarked(self, start: int, end: int) -> bool:
        """Whether there is a comment between two offsets that enclose no word."""
        return bool(self.text[start:end].strip())

    def gaps(self, words: Iterable[Word]) -> dict[int, Gap]:
        """The gaps before words, by word number, and the gap after the last word."""
        gaps: dict[int, Gap] = {}
        position, number = 0, -1
        closing: list[int] = []
        for number, word in enumerate(words):
            shown = word.text if isinstance(word, Infix) else "(" if isinstance(word, Paren) else word
            least = word.at if isinstance(word, Paren) else closing.pop() if shown == ")" else 0
            gap = gaps[number] = Gap()
            while True:
                position = self._pass(position, gap)
                if position >= least and self.text.startswith(shown, position):
                    break
                assert self.text[position] in "(),", (self.text[position : position + 20], shown)
                position += 1
            if shown == "(":
                closing.append(self._closes[position])
            position += len(shown)
        last = gaps[number + 1] = Gap()
        while position < len(self.text):
            position = self._pass(position, last) + 1
        return gaps

    def _pass(self, position: int, gap: Gap) -> int:
        """Collect white space and comments from a position into the gap; return the position after them."""
        while True:
            start, position = position, self._behind_space(position)
            gap.blank = gap.blank or self.text.count("\n", start, position) > 1
            comment = self.comments.get(position)
            if comment is None:
                return position
            line = self.text.rfind("\n", 0, position) + 1
            if not gap and self.text[line:position].strip():
                gap.trailing = comment.text.rstrip()
            else:
                gap.own.append((gap.blank, comment.text.rstrip()))
            gap.blank = False
            position += len(comment.text)

    def _behind_space(self, position: int) -> int:
        while position < len(self.text) and self.text[position].isspace():
            position += 1
        return position


class Unwritten:
    """A tree without a text: literals are written by their values, and nothing stands in redundant parentheses."""

    def literal(self, literal: s.Literal) -> str:
        """A literal in its shortest form."""
        return literal_text(literal)

    def slice(self, span: Span) -> str:
        """The text of a part with a syntax error, which no built tree has."""
        raise AssertionError(span)

    def head(self, case: s.Case) -> str:
        """The head of a case."""
        level = [case.var.id] if case.var else []
        return f"{case.rule.id}[{'+'.join(level + [str(case.offset)] * (case.offset > 0 or not level))}]"

    def called(self, call: s.Call | s.Annotated) -> None:
        """Nothing to note: there are no parentheses yet."""

    def parentheses(self, expr: s.Expr, *, needed: bool) -> list[int]:
        """One pair where precedence requires it."""
        return [0] if needed else []

    def remarked_call(self, call: s.Annotated) -> bool:
        """There are no comments in parentheses."""
        return False

    def remarked_signature(self, name: s.Name) -> bool:
        """There are no comments in parentheses."""
        return False


def literal_text(literal: s.Literal) -> str:
    """A short literal of the language that has a value. The value is finite, and no string holds a quote.

    A probability that no percentage gives exactly is a number.
    """
    match literal.value:
        case bool() as value:
            return "true" if value else "false"
        case str() as text:
            return f'"{text}"'
        case float() as value if literal.prob:
            digits = f"{Decimal(repr(value)).scaleb(2).normalize():f}"
            return f"{digits}%" if float(digits) / 100 == value else repr(value)
        case number:
            return repr(number)


_TOGETHER = (s.Import, s.FromImport, s.Param, s.Let)


def blank_between(above: s.Decl | None, below: s.Decl) -> bool:
    """Whether an empty line separates two declarations of a tree without a text."""
    return not (type(above) is type(below) and isinstance(below, _TOGETHER))
