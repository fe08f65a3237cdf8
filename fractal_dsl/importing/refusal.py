"""The error for a module that cannot be written in the language."""

from __future__ import annotations

from fractal_dsl.base.errors import UserError
from fractal_dsl.importing.plain import Place


class Refusal(UserError):
    """A module cannot be imported. The message names the operation, the module path and the source line.

    ``final`` means that no other way to capture the module would help. ``capture`` means that this way failed before it
    came to the operations."""

    def __init__(self, reason: str, place: Place | None = None, *, final: bool = False, capture: bool = False) -> None:
        self.reason, self.place, self.final, self.capture = reason, place or Place(), final, capture
        super().__init__(f"the module cannot be imported: {reason}" + self.place.text())


def said(error: BaseException) -> str:
    """The kind of an error and the first line of its message."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
