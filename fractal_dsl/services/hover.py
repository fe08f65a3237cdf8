"""What a name is: its signature, its comment, and the shapes, parameters and MACs of the part that it begins."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.language.walk import parts
from fractal_dsl.program.program_to_summary import Measurement, approximate, depth_text
from fractal_dsl.services.analysis import Analysis
from fractal_dsl.services.natives import entry
from fractal_dsl.services.places import Point, Range, offset_at, range_of
from fractal_dsl.services.signatures import declaration_head, doc
from fractal_dsl.services.symbols import Symbol, Use

_SHOWN = 6


class Hover(Struct, frozen=True):
    """A text in Markdown about a range."""

    range: Range
    text: str


def hover(analysis: Analysis, point: Point) -> Hover | None:
    """What is known about the name at a point. None if there is no name."""
    offset = offset_at(analysis.source, point)
    use = analysis.names.at(offset)
    if use is None or use.span.end > analysis.source.end:
        return None
    parts = [_declared(use), *_figures(analysis, use)]
    text = "\n\n".join(part for part in parts if part)
    return Hover(range_of(analysis.source, use.span), text) if text else None


def _declared(use: Use) -> str:
    """The declaration of a name, and the comment above it."""
    if isinstance(use.of, Symbol):
        place = f"\n\n*{use.of.declared.source.name}*" if use.of.declared.source.base else ""
        comment = doc(use.of)
        return f"```frac\n{declaration_head(use.of)}\n```" + (f"\n\n{comment}" if comment else "") + place
    known = entry(use.of)
    return "" if known is None else f"```frac\n{known.text}\n```\n\n{known.doc}"


def _figures(analysis: Analysis, use: Use) -> list[str]:
    """The figures of the net that a name declares, or of the part that it begins."""
    if isinstance(use.of, Symbol) and use.of.span == use.span:
        node = use.of.node
        if isinstance(node, s.NetDecl) and use.of.kind == "net":
            return [net_figures(analysis, node)]
        bodies = [node.body] if isinstance(node, s.LayerDecl) else []
        bodies = [case.body for case in node.cases] if isinstance(node, s.RuleDecl) else bodies
        bodies = [node.value] if isinstance(node, s.Binding) else bodies
        return [shapes_text([m for body in bodies for m in analysis.measured.get(body.span, [])])]
    for decl in analysis.file.decls:
        if decl.span.start <= use.span.start < decl.span.end:
            return [shapes_text(measured_at(analysis, decl, use.span))]
    return []


def measured_at(analysis: Analysis, decl: s.Decl, span: Span) -> list[Measurement]:
    """The measurements of the smallest part that begins with a name: the call of a layer, the level of a rule.

    An argument is part of a call, too, but does not begin it."""
    measurements: list[Measurement] = []
    node = decl
    while True:
        inner = next((part for part in parts(node) if _covers(part.span, span)), None)
        if inner is None:
            return measurements
        begins = isinstance(node, s.Call) and inner is node.func
        begins |= isinstance(node, s.Index | s.Annotated) and inner is node.base
        begins |= isinstance(node, s.Attribute) and node.name != "each"
        here = analysis.measured.get(inner.span, [])
        measurements = here or (measurements if begins else [])
        node = inner


def _covers(outer: Span, inner: Span) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end


def net_figures(analysis: Analysis, decl: s.NetDecl) -> str:
    """The figures of a net; empty where it has errors."""
    for program, summary in zip(analysis.examined.programs, analysis.examined.summaries, strict=True):
        if summary is not None and program.net == decl.name.id:
            columns = f" · {len(summary.columns)} columns" if len(summary.columns) > 1 else ""
            return (
                f"{approximate(summary.params)} parameters · {approximate(summary.macs)} MACs per sample · "
                f"{depth_text(summary)}{columns}"
            )
    return ""


def shapes_text(measured: Sequence[Measurement]) -> str:
    """Measurements as a list in Markdown, the first few of them."""
    lines = [_shape(m) for m in measured[:_SHOWN]]
    if len(measured) > _SHOWN:
        lines.append(f"… and {len(measured) - _SHOWN:,} more")
    return "\n".join(f"- {line}" for line in lines) if len(lines) > 1 else "".join(lines)


def _shape(m: Measurement) -> str:
    outs = " | ".join(f"`{out}`" for out in m.outs) or "an error"
    counts = f" · {approximate(m.params)} parameters" * bool(m.params) + f" · {approximate(m.macs)} MACs" * bool(m.macs)
    return f"`{m.into}` → {outs}{counts}"
