"""A text, read once: its trees, its nets, its errors, its names, and the figures of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from msgspec import Struct

from fractal_dsl.base.deep import deep
from fractal_dsl.compiled import MAX_LAYERS
from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import Diagnostic
from fractal_dsl.language.source import Source, Span
from fractal_dsl.pipeline import Examined, examine
from fractal_dsl.program.program_to_summary import Measurement, program_to_measurements
from fractal_dsl.services.names import NameIndex


class Analysis(Struct, frozen=True, dict=True):
    """All that is known about a text. ``opened`` and ``allow_python`` are as in ``analyse``."""

    source: Source
    examined: Examined
    opened: Mapping[Path, str]
    allow_python: bool

    @property
    def file(self) -> s.File:
        """The syntax tree of the text."""
        return self.examined.files.main

    @property
    def diagnostics(self) -> list[Diagnostic]:
        """The errors and warnings, in the order of the text."""
        report = self.examined.report
        return sorted((*report.errors, *report.warned), key=lambda d: (d.span.start, d.span.end))

    @cached_property
    def names(self) -> NameIndex:
        """What the names of the text and of its imports stand for."""
        with deep():
            return NameIndex(self.examined.files)

    @cached_property
    def measured(self) -> dict[Span, list[Measurement]]:
        """The measurements of the parts of all nets, by their spans."""
        result: dict[Span, list[Measurement]] = {}
        with deep():
            for program in self.examined.programs:
                for span, measurements in program_to_measurements(program, MAX_LAYERS).items():
                    known = result.setdefault(span, [])
                    known += [m for m in measurements if m not in known]
        return result


def analyse(
    source: Source, *, opened: Mapping[Path, str] = MappingProxyType({}), allow_python: bool = False
) -> Analysis:
    """Read a text. Its name is its path, from which imports are resolved.

    ``opened`` holds the texts that an editor has open, by resolved path. ``allow_python`` lets ``extern`` load Python
    code."""
    examined = examine(source, {}, MAX_LAYERS, allow_python=allow_python, opened=opened)
    return Analysis(source, examined, opened, allow_python)
