"""Local names and what is around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct, field

from fractal_dsl.language.source import Span
from fractal_dsl.program.syntax_to_program.values import RuleContext, Value


class Home(Protocol):
    """The file that a declaration stands in: where names that are not local are looked up."""

    def resolve(self, name: str, span: Span) -> Value | None:
        """The value of a declared name; None if there is no such name."""
        ...

    def names(self) -> list[str]:
        """All declared names that expressions may have."""
        ...

    def qualified(self, name: str) -> str | None:
        """A name of an imported file as it is written here; None if no import has it."""
        ...


class Nowhere:
    """No file: the home of a value on the command line."""

    def resolve(self, name: str, span: Span) -> Value | None:
        """None."""
        return None

    def names(self) -> list[str]:
        """None."""
        return []

    def qualified(self, name: str) -> str | None:
        """None."""
        return None


class Scope(Struct, frozen=True):
    """Local names, the file and the rule around them."""

    home: Home
    local: Mapping[str, Value] = field(default_factory=dict[str, Value])
    parent: Scope | None = None
    rule: RuleContext | None = None

    def inner(self, local: Mapping[str, Value]) -> Scope:
        """A scope within this one."""
        return Scope(self.home, local, self, self.rule)

    def known(self) -> list[str]:
        """All names, local ones first."""
        return [*self.local, *(self.parent.known() if self.parent else self.home.names())]
