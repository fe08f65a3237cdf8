"""The declaration, bracket, call or string that a place in a text is in. Texts are rarely complete while they are
typed, so this reads tokens, not trees."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from lark import Token
from msgspec import Struct

from fractal_dsl.base.deep import deep
from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.source import Source
from fractal_dsl.language.text_to_syntax.lexer import lex
from fractal_dsl.language.text_to_syntax.messages import begins_line
from fractal_dsl.language.text_to_syntax.words import DECLARATIONS, OPEN

_WORD = re.compile(r"\w*$")
_STRING = re.compile(r'"([^"\n]*)$')


class Situation(Struct, frozen=True):
    """The tokens around an offset.

    ``prefix`` is the begun word, or the begun text of a string if ``in_string``; ``start`` is its offset. ``before``
    are the tokens of the declaration up to it, ``behind`` those after it. ``open`` are the indices of the brackets in
    ``before`` that are not closed. ``indented`` tells whether a line does not begin with the word itself."""

    prefix: str
    start: int
    in_string: bool
    in_comment: bool
    begins_line: bool
    indented: bool
    before: tuple[Token, ...]
    behind: tuple[Token, ...]
    open: tuple[int, ...]

    @property
    def declaration(self) -> str:
        """The keyword of the declaration around; empty between declarations."""
        return str(self.before[0]) if self.before else ""

    @property
    def last(self) -> str:
        """The type of the token before the word; empty if there is none."""
        return self.before[-1].type if self.before else ""

    @property
    def bracket(self) -> str:
        """The innermost open bracket; empty if there is none."""
        return str(self.before[self.open[-1]]) if self.open else ""

    @property
    def inside(self) -> tuple[Token, ...]:
        """The tokens since the innermost open bracket, or since the start of the declaration."""
        return self.before[self.open[-1] + 1 :] if self.open else self.before

    def locals(self) -> list[str]:
        """The names that the declaration gives its own expressions: parameters, levels, values, names of loops."""
        tokens = (*self.before, *self.behind)
        names: list[str] = []
        if self.declaration in ("layer", "join", "rule", "net"):
            names += [a for a, b in pairwise(tokens) if a.type == "NAME" and b.type == "COLON"]
        heads = [i for i, t in enumerate(self.before) if t.type == "LSQB" and self.declaration == "rule"]
        for i in reversed(heads):
            if len(self.before) > i + 1 and self.before[i + 1].type == "NAME" and _is_head(self.before, i):
                names.append(self.before[i + 1])
                break
        for i, token in enumerate(tokens):
            if token.type == "FOR":
                rest = tokens[i + 1 :]
                end = next((k for k, t in enumerate(rest) if t.type not in ("NAME", "COMMA")), len(rest))
                names += [t for t in rest[:end] if t.type == "NAME"]
        return list(dict.fromkeys(map(str, [*names, *self._values()])))

    def _values(self) -> list[Token]:
        """The names that ``where`` binds, in a rule those of the case."""
        tokens, here = (*self.before, *self.behind), len(self.before)
        starts = [i for i, t in enumerate(tokens) if t.type == "LSQB" and _is_head(tokens, i)]
        if self.declaration == "rule":
            first = max((i for i in starts if i < here), default=0)
            last = min((i for i in starts if i > here), default=len(tokens))
            tokens = tokens[first:last]
        begin = next((i for i, t in enumerate(tokens) if t.type == "WHERE"), len(tokens))
        depth, names = 0, list[Token]()
        for a, b, c in zip(tokens[begin:], tokens[begin + 1 :], tokens[begin + 2 :], strict=False):
            depth += (a.type in OPEN) - (a.type in OPEN.values())
            if not depth and a.type in ("WHERE", "COMMA") and b.type == "NAME" and c.type == "EQUAL":
                names.append(b)
        return names


def _is_head(tokens: Sequence[Token], bracket: int) -> bool:
    """Whether a bracket belongs to the head of a case: `F[n+1] =`, or `F[n] when`."""
    closing = next((i for i in range(bracket, len(tokens)) if tokens[i].type == "RSQB"), None)
    return closing is not None and closing + 1 < len(tokens) and tokens[closing + 1].type in ("EQUAL", "WHEN")


def situation(source: Source, offset: int) -> Situation:
    """The tokens around an offset of a source."""
    with deep():
        tokens, comments = lex(source, Report(source))
    line = source.text[source.text.rfind("\n", 0, offset - source.base) + 1 : offset - source.base]
    in_comment = any(c.span.start < offset <= c.span.end for c in comments)
    quote = _STRING.search(line) if line.count('"') % 2 and not in_comment else None
    prefix = quote[1] if quote else (_WORD.search(line) or [""])[0]
    start = offset - len(prefix)
    reached = start - bool(quote)
    before = [t for t in tokens if (t.end_pos or 0) <= reached]
    behind = [t for t in tokens if (t.start_pos or 0) >= offset]
    first = max((i for i, t in enumerate(before) if _begins(source, t)), default=None)
    piece = before[first:] if first is not None else []
    end = next((i for i, t in enumerate(behind) if _begins(source, t)), len(behind))
    at_start = begins_line(source, start)
    indented = at_start and bool(line[: len(line) - len(prefix)])
    return Situation(
        prefix, start, bool(quote), in_comment, at_start, indented, tuple(piece), tuple(behind[:end]), _open(piece)
    )


def _begins(source: Source, token: Token) -> bool:
    """Whether a token begins a declaration."""
    return token.value in (*DECLARATIONS, "frac") and begins_line(source, token.start_pos or 0)


def _open(tokens: Sequence[Token]) -> tuple[int, ...]:
    """The indices of the brackets that are not closed."""
    stack: list[int] = []
    for i, token in enumerate(tokens):
        if token.type in OPEN:
            stack.append(i)
        elif stack and token.type == OPEN[tokens[stack[-1]].type]:
            stack.pop()
    return tuple(stack)
