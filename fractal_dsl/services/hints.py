"""Inlay hints: the shapes that flow through the steps of declarations, after the steps that change them."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from fractal_dsl.language import syntax as s
from fractal_dsl.services.analysis import Analysis
from fractal_dsl.services.places import Point, Range, offset_at, point_at

_SHOWN = 3


class Hint(Struct, frozen=True):
    """A text to show at a point, as if it were written there."""

    point: Point
    text: str


def hints(analysis: Analysis, range: Range | None = None) -> list[Hint]:
    """The output shapes of the steps of each declaration, within a range if one is given.

    A step has several shapes if its layer is used several times. A step that keeps its input's shape has no hint.
    """
    source = analysis.source
    first, last = (offset_at(source, p) for p in (range.start, range.end)) if range else (source.base, source.end)
    result: list[Hint] = []
    for step in _steps(analysis.file):
        if not first <= step.span.end <= last:
            continue
        measured = [m for m in analysis.measured.get(step.span, []) if m.outs]
        if any(m.outs != (m.into,) for m in measured):
            shapes = list(dict.fromkeys(_sizes(out.shape) for m in measured for out in m.outs))
            text = ", ".join(shapes[:_SHOWN]) + ", …" * (len(shapes) > _SHOWN)
            result.append(Hint(point_at(source, step.span.end), f"→ {text}"))
    return result


def _sizes(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a number"


def _steps(file: s.File) -> Iterator[s.Expr]:
    for decl in file.decls:
        match decl:
            case s.LayerDecl() | s.NetDecl():
                yield from _flow(decl.body)
            case s.RuleDecl():
                for case in decl.cases:
                    yield from _flow(case.body)
            case s.Let():
                yield from _flow(decl.value)
            case _:
                pass


def _flow(expr: s.Expr) -> Iterator[s.Expr]:
    match expr:
        case s.Outputs():
            for item in expr.items:
                yield from _flow(item)
        case s.Where():
            for part in (expr.body, *[value.value for value in expr.values]):
                yield from _flow(part)
        case s.Columns():
            for column in expr.columns:
                yield from _flow(column)
        case s.Flow():
            yield from expr.steps
        case _:
            yield expr
