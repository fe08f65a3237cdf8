"""Local names and what is around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fractal_dsl.syntax_to_program.values import RuleContext, Value


@dataclass(frozen=True)
class Scope:
    """Local names, and the rule around them."""

    names: Mapping[str, Value] = field(default_factory=dict[str, Value])
    parent: Scope | None = None
    rule: RuleContext | None = None

    def inner(self, names: Mapping[str, Value]) -> Scope:
        """A scope within this one."""
        return Scope(names, self, self.rule)

    def known(self) -> list[str]:
        """All local names."""
        return [*self.names, *(self.parent.known() if self.parent else [])]
