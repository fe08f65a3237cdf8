"""What Python code that builds a net is told when the language has no such construct."""

from __future__ import annotations

from fractal_dsl.base.errors import UserError
from fractal_dsl.builder.places import place
from fractal_dsl.language.source import Span


class BuilderError(UserError, TypeError):
    """Python code builds what the language has no words for. The message begins with its place."""

    def __init__(self, message: str, at: Span | None = None) -> None:
        super().__init__(f"{place(at)}: {message}" if at is not None else message)
