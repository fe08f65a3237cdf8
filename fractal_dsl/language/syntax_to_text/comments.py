"""Comments between words: each stays between the same two words as in the source.

Words are the tokens that the formatter writes: those of the source without redundant parentheses and trailing commas.
The comments between two words are a ``Gap``. Layout preserves every gap, so the output has the same words and gaps,
and formatting it again changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field

from fractal_dsl.language.syntax_to_text.layout import (
    SPACE,
    Doc,
    Fill,
    Group,
    Hug,
    Infix,
    Line,
    Nest,
    Paren,
    Remarks,
    group,
    join,
)

_WORD = re.compile(r'"[^"\n]*"|\w+|[^\w\s]')

_RUN = 100  # the parser's MAX_RUN, which counts one token where this may count several words

Word = str | Infix | Paren


class Gap(Struct):
    """The comments before a word.

    ``trailing`` is on the line of the previous word. ``own`` are on lines of their own, each with whether an empty line
    precedes it. ``blank`` tells whether an empty line precedes the word itself."""

    trailing: str = ""
    own: list[tuple[bool, str]] = field(default_factory=list[tuple[bool, str]])
    blank: bool = False

    def __bool__(self) -> bool:
        return bool(self.trailing or self.own)


def words_of(doc: Doc) -> Iterator[Word]:
    """The words of a document, in order."""
    stack = [doc]
    while stack:
        match stack.pop():
            case str() as text:
                yield from _WORD.findall(text)
            case tuple() as parts:
                stack += reversed(parts)
            case Nest(body=body) | Group(body=body) | Hug(body=body):
                stack.append(body)
            case Fill(items=items):
                yield from _WORD.findall(", ".join(items))
            case Infix(text=text):
                yield Infix(text.strip())
            case Paren() as opening:
                yield opening
            case Line() | Remarks():
                pass


def overlong(written: Iterable[Word]) -> bool:
    """Whether a run of words is longer than the parser accepts: removed parentheses may have separated them."""
    runs = [0]
    for word in written:
        text = word.text if isinstance(word, Infix) else "(" if isinstance(word, Paren) else word
        runs[-1] += 1
        if runs[-1] > _RUN:
            return True
        if text in ("(", "[", "{"):
            runs.append(0)
        elif text in (")", "]", "}"):
            runs.pop()
        elif text in (",", ">>", "|", "="):
            runs[-1] = 0
    return False


def settle(gaps: Mapping[int, Gap], written: Sequence[Word]) -> None:
    """Move comments from before a comma to after it, and from after an infix operator to before it.

    They stay if a trailing comment would leave its line.
    """
    for number, word in enumerate(written):
        if word == ",":
            _move(gaps[number], gaps[number + 1], gaps[number + 1])
        elif isinstance(word, Infix):
            _move(gaps[number], gaps[number + 1], gaps[number])


def _move(first: Gap, second: Gap, to: Gap) -> None:
    if second.trailing and first:
        return
    trailing, own = first.trailing or second.trailing, first.own + second.own
    for gap in (first, second):
        gap.trailing, gap.own = (trailing, own) if gap is to else ("", [])


class Weaver:
    """Inserts the comments of gaps between the words of documents."""

    def __init__(self, gaps: Mapping[int, Gap], written: Sequence[Word]) -> None:
        self.gaps, self.written = gaps, written
        self._at = self._end = 0

    def weave(self, doc: Doc, first: int, end: int) -> Doc:
        """A document whose words have the numbers ``first`` to ``end`` (exclusive), with all comments inside it."""
        self._at, self._end = first, end
        return self._woven(doc)

    def _woven(self, doc: Doc) -> Doc:
        match doc:
            case str():
                return self._text(doc)
            case tuple():
                return tuple([self._woven(part) for part in doc])
            case Nest():
                return Nest(self._woven(doc.body))
            case Group():
                return group(self._woven(doc.body))
            case Fill():
                size = sum(1 for _ in words_of(doc))
                if any(self.gaps[i] for i in range(self._at + 1, self._at + size)):
                    return self._woven(join((",", SPACE), doc.items))
                self._at += size
                return (doc, self._remarks())
            case Hug():
                if self.gaps[self._at]:
                    return group(Nest((SPACE, self._woven(doc.body))))
                return (" ", self._woven(doc.body))
            case Infix(text=text):
                self._at += 1
                remarks = self._remarks()
                return (text.rstrip(), remarks) if remarks else text
            case Paren():
                self._at += 1
                return ("(", self._remarks())
            case Line() | Remarks():
                return doc

    def _text(self, text: str) -> Doc:
        parts: list[Doc] = []
        start = 0
        for match in _WORD.finditer(text):
            self._at += 1
            remarks = self._remarks()
            if remarks:
                parts += [text[start : match.end()], remarks]
                start = match.end()
        return (*parts, text[start:]) if parts else text

    def _remarks(self) -> Doc:
        """The comments after the last word taken."""
        if self._at >= self._end or not self.gaps[self._at]:
            return ()
        gap = self.gaps[self._at]
        return Remarks(gap.trailing, tuple([text for _, text in gap.own]), self.written[self._at] in (")", "]", "}"))
