"""The formatter: a syntax tree as text in the canonical style, with comments kept in place.

In: a syntax tree and its source. Out: formatted text.
Not imported here: torch, ``ops`` and above.

Lines have at most 100 columns where possible. Consecutive parameters, cases and settings are aligned.
Formatted text parses to the same tree, and formatting it again changes nothing (``tests/test_format.py`` tests both).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from fractal_dsl.language import syntax as s
from fractal_dsl.language.syntax_to_text.comments import Gap, Weaver, Word, overlong, settle, words_of
from fractal_dsl.language.syntax_to_text.expressions import POSTFIX, Expressions
from fractal_dsl.language.syntax_to_text.layout import (
    INDENT,
    SPACE,
    Doc,
    Infix,
    Nest,
    bracketed,
    breaks,
    group,
    join,
    layout,
)
from fractal_dsl.language.syntax_to_text.sources import Unwritten, Written, blank_between

WIDTH = 100
_RECURSION = 50_000  # MAX_NESTING and MAX_RUN bound the depth


def syntax_to_text(file: s.File) -> str:
    """Format a file without syntax errors. Lines end in a line feed.

    A file whose source is empty was built in Python: literals are written by their values, doc comments by the ``doc``
    of declarations, and empty lines by custom."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _RECURSION))
    try:
        return _formatted(file)
    finally:
        sys.setrecursionlimit(limit)


def expression_to_text(expr: s.Expr) -> str:
    """An expression that was built in Python, on one line."""
    return layout(Expressions(Unwritten()).expr(expr), 10**9)


def _formatted(file: s.File) -> str:
    text = Written(file.source, file.comments) if file.source.text else Unwritten()
    rows = _Rows(file, text).file()
    if isinstance(text, Written) and any(overlong(_words([row])) for row in rows):
        text = Written(file.source, file.comments, all=True)
        rows = _Rows(file, text).file()
    written = list(_words(rows))
    gaps = text.gaps(written) if isinstance(text, Written) else _gaps(file, rows)
    settle(gaps, written)
    lines, _ = _LineWriter(gaps, Weaver(gaps, written)).lines(rows, 0, WIDTH)
    return "\n".join(lines) + "\n" if lines else ""


def _gaps(file: s.File, rows: Sequence[_Row]) -> dict[int, Gap]:
    """The gaps of a tree without a text: doc comments, and empty lines between declarations."""
    gaps = {0: Gap()}
    start, decls = 0, [*([None] if file.edition else []), *file.decls]
    for above, decl, row in zip([None, *decls], decls, rows, strict=False):
        words = sum(1 for _ in _words([row]))
        gaps.update({start + i: Gap() for i in range(words + 1)})
        if decl is not None and not isinstance(decl, s.BrokenDecl):
            blank = blank_between(above, decl)
            docs = [f"## {line}".rstrip() for line in decl.doc.split("\n")] if decl.doc else []
            gaps[start] = Gap(own=[(blank and not i, line) for i, line in enumerate(docs)], blank=blank and not docs)
        start += words
    return gaps


class _Row(Struct, frozen=True):
    """A node that begins a line.

    ``cells`` are the words of ``whole`` in aligned cells, used where consecutive rows of a kind fit on one line each.
    ``rows`` are its body in braces. ``apart`` is true for a declaration."""

    kind: str
    whole: Doc
    cells: tuple[Doc, ...] = ()
    rows: tuple[_Row, ...] | None = None
    apart: bool = False


def _words(rows: Iterable[_Row]) -> Iterator[Word]:
    for row in rows:
        yield from words_of(row.whole)
        if row.rows is not None:
            yield from _words(row.rows)
            yield "}"


class _Rows:
    """The nodes of a file as rows."""

    def __init__(self, file: s.File, text: Written | Unwritten) -> None:
        self.tree, self.text = file, text
        self.e = Expressions(text)

    def file(self) -> list[_Row]:
        edition = self.tree.edition
        first = [_Row("edition", f"frac {self.text.literal(edition)}")] if edition is not None else []
        return [*first, *[self._decl(decl) for decl in self.tree.decls]]

    def _decl(self, node: s.Decl) -> _Row:
        match node:
            case s.Param():
                return self._param(node)
            case s.RuleDecl():
                closing = (" join ", self.e.expr(node.join, POSTFIX)) if node.join is not None else ""
                head = (f"rule {node.name.id}", self.e.signature(node.name, node.params), closing, " {")
                return _Row("rule", head, rows=tuple([self._case(c) for c in node.cases]), apart=True)
            case s.TrainDecl():
                return _Row("train", "train {", rows=tuple([self._setting(x) for x in node.settings]), apart=True)
            case _:
                return _Row("other", self._whole(node), apart=True)

    def _whole(self, node: s.Import | s.FromImport | s.Let | s.LayerDecl | s.NetDecl | s.Extern | s.BrokenDecl) -> Doc:
        match node:
            case s.Import():
                return f'import "{node.path.value}" as {node.name.id}'
            case s.FromImport():
                names = [a.id if a == b else f"{a.id} as {b.id}" for a, b in node.names]
                return f'from "{node.path.value}" import {", ".join(names)}'
            case s.Let():
                return (f"{'shared' if node.shared else 'let'} {node.name.id} =", self.e.body(node.value))
            case s.LayerDecl():
                head = f"{'join' if node.is_join else 'layer'} {node.name.id}"
                return (head, self.e.signature(node.name, node.params), " =", self.e.body(node.body))
            case s.NetDecl():
                return self._net(node)
            case s.Extern():
                head = f"extern {'join' if node.is_join else 'layer'} {node.name.id}"
                return (head, self.e.signature(node.name, node.params), f' from "{node.target.value}"')
            case s.BrokenDecl():
                return self.text.slice(node.span)

    def _param(self, node: s.Param) -> _Row:
        head, type = f"param {node.name.id}:", self.e.type(node.type)
        default: Doc = ("= ", self.e.expr(node.default)) if node.default is not None else ""
        match node.domain:
            case None:
                domain: Doc = ""
            case s.RangeDomain(low=low, high=high):
                domain = ("in ", self.e.expr(low), "..", self.e.expr(high))
            case s.SetDomain(values=values):
                domain = ("in ", bracketed("{", join((",", SPACE), [self.e.expr(v) for v in values]), "}"))
        value: Doc = (default, " " if default and domain else "", domain) if default or domain else ""
        return _Row("param", (head, " ", type, " " if value else "", value), (head, type, value), apart=True)

    def _case(self, node: s.Case) -> _Row:
        guard: Doc = (" when ", self.e.expr(node.guard)) if node.guard is not None else ""
        head = (self.text.head(node), guard)
        return _Row("case", (head, " =", self.e.body(node.body)), (head, group("= ", self.e.expr(node.body))))

    def _setting(self, node: s.Setting) -> _Row:
        whole = (node.key.id, " =", self.e.body(node.value))
        return _Row("setting", whole, (node.key.id, ("= ", self.e.expr(node.value))))

    def _net(self, node: s.NetDecl) -> Doc:
        inputs = [(f"{one.name.id}: ", self.e.type(one.type)) for one in node.inputs]
        outputs = [((f"{one.name.id}: " if one.name else ""), self.e.type(one.type)) for one in node.outputs]
        given = bracketed("(", join((",", SPACE), inputs), ")") if len(inputs) > 1 else ("(", inputs[0], ")")
        result = bracketed("(", join((",", SPACE), outputs), ")") if len(outputs) > 1 else outputs[0]
        options: Doc = ""
        if node.options:
            calls = [(self.e.expr(o.func), self.e.arguments(o)) for o in node.options]
            options = (SPACE, "with ", group(join((",", SPACE), calls)))
        body = (SPACE, Infix("= "), self.e.expr(node.body))
        return group(f"net {node.name.id}", given, " -> ", result, Nest((options, body)))


class _LineWriter:
    """Rows as lines, with the comments between them."""

    def __init__(self, gaps: dict[int, Gap], weaver: Weaver) -> None:
        self.gaps, self.weaver = gaps, weaver

    def lines(self, rows: Sequence[_Row], first: int, width: int) -> tuple[list[str], int]:
        """The lines of rows whose words start at number ``first``, and the number of the word after them."""
        starts = [first]
        texts: list[list[str]] = []
        for row in rows:
            lines, behind = self._row(row, starts[-1], width)
            texts.append(lines)
            starts.append(behind)
        self._align(rows, starts, texts, width)
        result: list[str] = []
        for i, start in enumerate(starts):
            gap = self.gaps[start]
            apart = 0 < i < len(rows) and rows[i - 1].apart and max(len(texts[i - 1]), len(texts[i])) > 1
            above = [blank for blank, _ in gap.own] + [gap.blank and i < len(rows)]
            if apart and not any(above):
                above[0] = True
            if result and gap.trailing:
                result[-1] += f"  {gap.trailing}"
            below = [*[[text] for _, text in gap.own], texts[i] if i < len(rows) else []]
            for blank, text in zip(above, below, strict=True):
                result += ([""] if blank and result else []) + text
        return result, starts[-1]

    def _row(self, row: _Row, first: int, width: int) -> tuple[list[str], int]:
        behind = first + sum(1 for _ in words_of(row.whole))
        text = layout(self.weaver.weave(row.whole, first, behind), width)
        if row.rows is None:
            return text.split("\n"), behind
        below, closing = self.lines(row.rows, behind, width - INDENT)
        trailing = self.gaps[behind].trailing
        if not below and not trailing:
            return f"{text}}}".split("\n"), closing + 1
        head = f"{text}  {trailing}" if trailing else text
        return [*head.split("\n"), *[" " * INDENT + line if line else "" for line in below], "}"], closing + 1

    def _align(self, rows: Sequence[_Row], starts: Sequence[int], texts: list[list[str]], width: int) -> None:
        """Align the cells of consecutive rows of a kind that no empty line separates."""
        run: dict[int, list[str]] = {}
        for i, row in enumerate(rows):
            gap, cells = self.gaps[starts[i]], self._cells(row, starts[i], width)
            blank = gap.own[0][0] if gap.own else gap.blank
            if run and (cells is None or blank or rows[max(run)].kind != row.kind):
                _pad(run, texts, width)
                run = {}
            if cells is not None:
                run[i] = cells
        _pad(run, texts, width)

    def _cells(self, row: _Row, first: int, width: int) -> list[str] | None:
        """The cells of a row that fits on one line."""
        behind = first + sum(1 for _ in words_of(row.whole))
        docs = self.weaver.weave(row.cells, first, behind)
        if not isinstance(docs, tuple) or not docs or breaks(docs):
            return None
        cells = [layout(doc, 10**9) for doc in docs]
        return cells if sum(map(len, cells)) + len(cells) - 1 <= width else None


def _pad(run: dict[int, list[str]], texts: list[list[str]], width: int) -> None:
    for i, (*first, last) in run.items():
        widths = [max(len(cells[k]) for cells in run.values()) for k in range(len(first))]
        line = "".join(f"{cell:<{w}} " for cell, w in zip(first, widths, strict=True)) + last
        if len(line) <= width:
            texts[i] = [line.rstrip()]
