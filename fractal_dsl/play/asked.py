"""What the page asks about: a text with values of its parameters, and how to draw it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.imports import load
from fractal_dsl.language.source import Source
from fractal_dsl.play.documents import Documents
from fractal_dsl.play.params import controls


@dataclass(frozen=True)
class SpecText:
    """A text with the chosen parameter values, as ``-p`` takes them, and the chosen net."""

    source: Source
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    net: str | None = None

    def declared(self) -> dict[str, str]:
        """The values of parameters that the text declares. A parameter that is being renamed is no error."""
        names = {control["name"] for control in controls(load(self.source, Report(self.source)), {})}
        return {name: value for name, value in self.params.items() if name in names}


def spec_text(documents: Documents, asked: Mapping[str, Any]) -> SpecText:
    """The text of a question: ``{"document", "text", "params", "net"}``. Raises UserError as ``Documents.source``."""
    params = {str(name): str(value) for name, value in asked["params"].items()}
    return SpecText(documents.source(str(asked["document"]), str(asked["text"])), params, asked.get("net"))


@dataclass(frozen=True)
class Picture:
    """The options of a picture, as ``render`` has them."""

    view: str = "net"
    block: int = 1
    raw: bool = False
    plan: str | None = None
    label: str = "none"
    heat: str | None = None
    depth: int | None = None
