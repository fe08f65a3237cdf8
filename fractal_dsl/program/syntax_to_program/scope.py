"""Scopes: local names, and the enclosing file and rule."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from fractal_dsl.language.source import Span
from fractal_dsl.program.syntax_to_program.values import Declarations, EnclosingRule, Value


class Nowhere:
    """No file: the declarations that a value on the command line sees."""

    def resolve(self, name: str, span: Span) -> Value | None:
        """None."""
        return None

    def names(self) -> list[str]:
        """None."""
        return []

    def qualified(self, name: str) -> str | None:
        """None."""
        return None

    def title(self) -> str:
        """The command line."""
        return "the command line"


class Scope(Struct, frozen=True):
    """Local names, and the enclosing file and rule."""

    module: Declarations
    local: Mapping[str, Value] = field(default_factory=dict[str, Value])
    parent: Scope | None = None
    rule: EnclosingRule | None = None

    def inner(self, local: Mapping[str, Value]) -> Scope:
        """A scope nested in this one."""
        return Scope(self.module, local, self, self.rule)

    def find(self, name: str) -> Value | None:
        """The value of a local name, innermost first; None if there is none."""
        at: Scope | None = self
        while at is not None:
            if name in at.local:
                return at.local[name]
            at = at.parent
        return None

    def known(self) -> list[str]:
        """All names, local ones first."""
        return [*self.local, *(self.parent.known() if self.parent else self.module.names())]
