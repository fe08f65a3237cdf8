"""The formatter: a syntax tree as text in the one canonical style, comments kept in place.

Lines have at most 100 columns where the text allows it. Runs of parameters, cases and settings are aligned.
A formatted text parses to the same tree and is a fixed point (``tests/test_format.py`` proves both).
"""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl import syntax as s
from fractal_dsl.source import Span
from fractal_dsl.syntax_to_text.comments import attach
from fractal_dsl.syntax_to_text.expressions import Expressions
from fractal_dsl.syntax_to_text.layout import HARD, SPACE, Doc, Nest, breaks, group, join, layout

WIDTH = 100
_INDENT = 4

Cells = tuple[Doc, ...]
"""A node in parts: where several in a row fit on a line each, their parts are aligned."""


def syntax_to_text(file: s.File) -> str:
    """A file without syntax errors, formatted."""
    return _Formatter(file).file()


class _Formatter:
    def __init__(self, file: s.File) -> None:
        self.tree, self.text = file, file.source.text
        self.comments = attach(file)
        self.e = Expressions(file.source, self.comments)

    def file(self) -> str:
        parts: list[str] = []
        edition = self.tree.edition.span if self.tree.edition else None
        if edition is not None and self.tree.edition is not None:
            remarks = [c for c in self.tree.comments if c.span.start < edition.start]
            parts += [c.text.rstrip() for c in remarks]
            trail = [c for c in self.tree.comments if c.span.start >= edition.end and not self._breaks(edition, c)]
            parts.append(f"frac {self.tree.edition.value}" + "".join(f"  {c.text.rstrip()}" for c in trail))
            for c in remarks + trail:
                self._forget(c)
        parts += self._lines(self.tree.decls, edition, WIDTH)
        end = self.tree.decls[-1].span if self.tree.decls else edition
        for comment in self.comments.last:
            if end is not None and self._gap(end.end, comment.span.start):
                parts.append("")
            parts.append(comment.text.rstrip())
            end = comment.span
        return "\n".join(parts) + "\n" if parts else ""

    def _breaks(self, span: Span, comment: s.Comment) -> bool:
        return "\n" in self.text[span.end : comment.span.start]

    def _forget(self, comment: s.Comment) -> None:
        for held in (*self.comments.leading.values(), *self.comments.trailing.values(), self.comments.last):
            if comment in held:
                held.remove(comment)

    # --- nodes one below the other

    def _lines(
        self, nodes: Sequence[s.Decl] | Sequence[s.Case] | Sequence[s.Setting], previous: Span | None, width: int
    ) -> list[str]:
        """The lines of nodes, their comments above them, runs of one-line nodes aligned."""
        rows = [self._row(node, width) for node in nodes]
        texts = [layout(self._whole(node), width) for node in nodes]
        result: list[str] = []
        run: list[int] = []

        def align() -> None:
            cells = {j: row for j in run if (row := rows[j]) is not None}
            for j, (*first, last) in cells.items():
                widths = [max(len(row[i]) for row in cells.values()) for i in range(len(first))]
                line = "".join(f"{cell:<{w}} " for cell, w in zip(first, widths, strict=True)) + last
                if len(line) <= width:
                    texts[j] = line.rstrip()
            run.clear()

        for i, node in enumerate(nodes):
            kind = type(node)
            joined = run and type(nodes[run[-1]]) is kind and not self._gap(nodes[i - 1].span.end, self._first(node))
            if rows[i] is None or not joined:
                align()
            if rows[i] is not None:
                run.append(i)
        align()
        for i, node in enumerate(nodes):
            gap = previous is not None and self._gap(previous.end, self._first(node))
            if gap or (i and isinstance(node, s.Decl) and _apart(nodes[i - 1], texts[i - 1], texts[i])):
                result.append("")
            result += self._above(node.span)
            trail = "".join(f"  {c.text.rstrip()}" for c in self.comments.trailing.get(node.span, ()))
            result += (texts[i] + trail).split("\n")
            previous = self._end(node.span)
        return result

    def _end(self, span: Span) -> Span:
        """A node with the comment behind it."""
        return span.to(self.comments.trailing[span][-1].span) if self.comments.trailing.get(span) else span

    def _row(self, node: s.Decl | s.Case | s.Setting, width: int) -> tuple[str, ...] | None:
        """The cells of a node that fits on a line, if its kind is aligned."""
        cells = self._cells(node)
        if cells is None or breaks(cells):
            return None
        row = tuple([layout(cell, 10**9) for cell in cells])
        return row if sum(map(len, row)) + len(row) - 1 <= width else None

    def _gap(self, start: int, end: int) -> bool:
        """Whether the source has an empty line between two places."""
        return "\n\n" in "".join(c for c in self.text[start:end] if c == "\n" or not c.isspace())

    def _first(self, node: s.Decl | s.Case | s.Setting) -> int:
        remarks = self.comments.leading.get(node.span)
        return remarks[0].span.start if remarks else node.span.start

    def _above(self, span: Span) -> list[str]:
        """The comments above a node, with the empty lines between them."""
        lines: list[str] = []
        remarks = self.comments.leading.get(span, [])
        starts = [*[c.span.start for c in remarks[1:]], span.start]
        for comment, start in zip(remarks, starts, strict=bool(remarks)):
            lines.append(comment.text.rstrip())
            if self._gap(comment.span.end, start):
                lines.append("")
        return lines

    # --- documents

    def _cells(self, node: s.Decl | s.Case | s.Setting) -> Cells | None:
        match node:
            case s.Param():
                return (f"param {node.name.id}:", self.e.type(node.type), self._value(node))
            case s.Case():
                return (self._head(node), ("= ", self.e.standing(node.body)))
            case s.Setting():
                return (node.key.id, ("= ", self.e.standing(node.value)))
            case _:
                return None

    def _value(self, node: s.Param) -> Doc:
        default = ("= ", self.e.expr(node.default)) if node.default is not None else ""
        match node.domain:
            case None:
                domain: Doc = ""
            case s.RangeDomain(low=low, high=high):
                domain = ("in ", self.e.expr(low), "..", self.e.expr(high))
            case s.SetDomain(values=values):
                domain = ("in {", join(", ", [self.e.expr(v) for v in values]), "}")
        return (default, " " if default and domain else "", domain)

    def _head(self, node: s.Case) -> Doc:
        if node.var is None:
            level = str(node.offset)
        else:
            level = node.var.id + (f"+{node.offset}" if node.offset else "")
        guard: Doc = (" when ", self.e.expr(node.guard)) if node.guard is not None else ""
        return (f"{node.rule.id}[{level}]", guard)

    def _whole(self, node: s.Decl | s.Case | s.Setting) -> Doc:
        match node:
            case s.Import():
                return (f'import "{node.path.value}" as {node.name.id}',)
            case s.FromImport():
                names = [a.id if a.id == b.id else f"{a.id} as {b.id}" for a, b in node.names]
                return (f'from "{node.path.value}" import ', ", ".join(names))
            case s.Param():
                value = self._value(node)
                return (f"param {node.name.id}: ", self.e.type(node.type), " " if value != ("", "", "") else "", value)
            case s.Let():
                return (f"{'shared' if node.shared else 'let'} {node.name.id} =", self._body(node.value))
            case s.LayerDecl():
                word = "join" if node.is_join else "layer"
                return (f"{word} {node.name.id}", self.e.signature(node.params), " =", self._body(node.body))
            case s.RuleDecl():
                closing = (" join ", self.e.expr(node.join, 12)) if node.join is not None else ""
                head = (f"rule {node.name.id}", self.e.signature(node.params), closing)
                return self._braces(head, node.cases)
            case s.NetDecl():
                return self._net(node)
            case s.TrainDecl():
                return self._braces("train", node.settings)
            case s.Extern():
                word = "join" if node.is_join else "layer"
                target = f' from "{node.target.value}"'
                return (f"extern {word} {node.name.id}", self.e.signature(node.params), target)
            case s.Case():
                return (self._head(node), " =", self._body(node.body))
            case s.Setting():
                return (node.key.id, " =", self._body(node.value))
            case s.BrokenDecl():
                return self.text[node.span.start : node.span.end]

    def _body(self, expr: s.Expr) -> Doc:
        """What stands behind `=`: on the same line if it fits or has brackets to break in, else below."""
        doc = self.e.standing(expr)
        hugs = isinstance(expr, s.Call | s.Items) and expr.span not in self.comments.leading
        return (" ", doc) if hugs else group(Nest((SPACE, doc)))

    def _braces(self, head: Doc, nodes: Sequence[s.Case] | Sequence[s.Setting]) -> Doc:
        if not nodes:
            return (head, " {}")
        lines = self._lines(nodes, None, WIDTH - _INDENT)
        body = [part for line in lines for part in ((HARD, line) if line else (HARD,))]
        return (head, " {", Nest(tuple(body)), HARD, "}")

    def _net(self, node: s.NetDecl) -> Doc:
        head = (f"net {node.name.id}({node.input.id}: ", self.e.type(node.input_type), ") -> ")
        options: Doc = ""
        if node.options:
            calls = [self.e.item(o, (self.e.expr(o.func), self.e.arguments(o.args))) for o in node.options]
            options = (SPACE, "with ", group(join((",", SPACE), calls)))
        body = (SPACE, "= ", self.e.standing(node.body))
        return group(head, self.e.type(node.output_type), Nest((options, body)))


def _apart(before: object, text_before: str, text: str) -> bool:
    """Whether two declarations stand apart whatever the source: those of several lines do."""
    return "\n" in text_before or "\n" in text
