"""Errors and warnings at their places in the text. Those of an imported file are shown where it is imported."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from fractal_dsl.base.errors import help_text
from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import Diagnostic
from fractal_dsl.language.source import Span
from fractal_dsl.services.analysis import Analysis
from fractal_dsl.services.places import FileRange, Range, place_of, range_of

_MOST = 100


class Finding(Struct, frozen=True):
    """An error or a warning. ``origin`` is its place if it is in another file."""

    range: Range
    severity: Literal["error", "warning"]
    code: str
    message: str
    origin: FileRange | None = None


def findings(analysis: Analysis) -> list[Finding]:
    """The errors and warnings of a text, each with its help."""
    return [_finding(analysis, d) for d in analysis.diagnostics[:_MOST]]


def _finding(analysis: Analysis, d: Diagnostic) -> Finding:
    help = help_text(d.help)
    message = d.message + (f"\nhelp: {help}" if help else "")
    if d.source.name == analysis.source.name:
        return Finding(range_of(analysis.source, d.span), d.severity, d.code, message)
    origin = place_of(d.source, d.span)
    line = origin.range.start.line + 1
    span = _import_of(analysis, d)
    return Finding(range_of(analysis.source, span), d.severity, d.code, f"{d.source.name}:{line}: {message}", origin)


def _import_of(analysis: Analysis, d: Diagnostic) -> Span:
    """The path of the import that leads to the file of an error: its own, else the first."""
    spans = [decl.path.span for decl in analysis.file.decls if isinstance(decl, s.Import | s.FromImport)]
    for span in spans:
        target = analysis.examined.files.targets.get(span)
        if target is not None and target.source.name == d.source.name:
            return span
    return spans[0] if spans else Span(0, 0)
