"""Where comments belong: to the node before them on their line, or to the node that follows."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, fields, is_dataclass
from typing import cast

from fractal_dsl import syntax as s
from fractal_dsl.source import Span

Node = s.Decl | s.Case | s.Setting | s.Parameter | s.Arg | s.Expr


@dataclass(frozen=True, slots=True)
class Attached:
    """The comments of a file by the spans of the nodes that they belong to. ``last``: behind everything."""

    leading: dict[Span, list[s.Comment]]
    trailing: dict[Span, list[s.Comment]]
    last: list[s.Comment]


def attach(file: s.File) -> Attached:
    """Give each comment a node: a declaration, or a part of one that has a line break before it."""
    leading: dict[Span, list[s.Comment]] = defaultdict(list)
    trailing: dict[Span, list[s.Comment]] = defaultdict(list)
    last: list[s.Comment] = []
    decls = [d.span for d in file.decls]
    children: dict[Span, list[Span]] = {}
    for decl in file.decls:
        _collect(decl, children)
    for comment in file.comments:
        at = comment.span.start
        level, enclosing = decls, None
        while True:
            inside = next((span for span in level if span.start <= at < span.end), None)
            if inside is None:
                break
            level, enclosing = children.get(inside, []), inside
        before = [span for span in level if span.end <= at]
        after = [span for span in level if span.start > at]
        if before and "\n" not in file.source.text[before[-1].end : at]:
            trailing[before[-1]].append(comment)
        elif after:
            leading[after[0]].append(comment)
        elif before and enclosing is not None:
            trailing[before[-1]].append(comment)
        elif enclosing is not None:
            trailing[enclosing].append(comment)
        else:
            last.append(comment)
    return Attached(leading, trailing, last)


def _collect(node: object, children: dict[Span, list[Span]]) -> None:
    """The attachable nodes directly below each attachable node, in order."""
    stack: list[tuple[object, Span | None]] = [(node, None)]
    while stack:
        at, parent = stack.pop()
        if isinstance(at, tuple):
            stack += [(item, parent) for item in reversed(cast(tuple[object, ...], at))]
            continue
        if not is_dataclass(at) or isinstance(at, Span):
            continue
        span = cast(Span, getattr(at, "span"))  # noqa: B009
        if parent is None:
            parent = span
            children.setdefault(span, [])
        names = _attachable(at)
        for field in reversed(fields(at)):
            value: object = getattr(at, field.name)
            items = cast(tuple[object, ...], value) if isinstance(value, tuple) else (value,)
            for item in reversed(items):
                if not is_dataclass(item) or isinstance(item, Span):
                    continue
                inner = cast(Span, getattr(item, "span"))  # noqa: B009
                if field.name in names and inner != parent:
                    children[parent].append(inner)
                    children.setdefault(inner, [])
                    stack.append((item, inner))
                else:
                    stack.append((item, parent))
    for spans in children.values():
        spans.sort(key=lambda span: (span.start, span.end))


def _attachable(node: object) -> tuple[str, ...]:
    """The fields whose nodes stand behind a possible line break."""
    match node:
        case s.RuleDecl():
            return ("params", "cases")
        case s.LayerDecl() | s.Extern():
            return ("params", "body")
        case s.NetDecl():
            return ("options", "body")
        case s.TrainDecl():
            return ("settings",)
        case s.Case():
            return ("body",)
        case s.Let() | s.Setting():
            return ("value",)
        case s.Items():
            return ("items",)
        case s.Flow():
            return ("steps",)
        case s.Columns():
            return ("columns",)
        case s.Call() | s.Annotated():
            return ("args",)
        case s.FromImport():
            return ()
        case _:
            return ()
