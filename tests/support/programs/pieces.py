"""Texts with their meaning, and what the rules of a program mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.support.programs.meaning import Join, Mention, Term, Value

Env = Mapping[str, Any]


@dataclass(frozen=True)
class Piece:
    """A text and its value under the names around it. ``loose`` texts take parentheses within others."""

    text: str
    value: Callable[[Env], Any]
    loose: bool = False

    @property
    def tight(self) -> str:
        """The text as an operand."""
        return f"({self.text})" if self.loose else self.text


class TooLarge(Exception):
    """A term with more layers than a test has time for."""


@dataclass(frozen=True, repr=False)
class Program:
    """A drawn program: its text, its meaning, its inputs with their shapes, and the widths of its outputs; ``tokens``
    is how many different numbers an input of whole numbers has."""

    text: str
    term: Term
    inputs: dict[Value, tuple[int, ...]]
    outputs: tuple[int, ...]
    tokens: int = 0

    def __repr__(self) -> str:
        return f"<program\n{self.text}>"


@dataclass(frozen=True)
class Names:
    """What may be mentioned: whole numbers from 1 up, probabilities, lists, blocks that keep their channels
    (``same``), blocks that hand on ``out`` channels, and declared layers and rules. ``heads`` are the values of the
    body, each with the text of its channels, where the input of the body flows in."""

    ints: tuple[Piece, ...] = ()
    probs: tuple[Piece, ...] = ()
    lists: tuple[str, ...] = ()
    same: tuple[Piece, ...] = ()
    blocks: tuple[Piece, ...] = ()
    lets: tuple[Piece, ...] = ()
    heads: tuple[tuple[Piece, str], ...] = ()

    @property
    def behind(self) -> Names:
        """What may be mentioned behind another block."""
        return replace(self, heads=())


def name(text: str) -> Piece:
    """A mention of a name."""
    return Piece(text, lambda env: env[text])


def number(value: int) -> Piece:
    """A whole number."""
    return Piece(str(value), lambda env: value)


MAX_TERMS = 400
MAX_LAYERS = 60


def filled(args: Mapping[str, Any], defaults: Mapping[str, Piece | None], env: Env) -> dict[str, Any]:
    """Arguments with the defaults of those that are not given."""
    return {k: args[k] if k in args else d.value(env) if d else None for k, d in defaults.items()}


@dataclass(frozen=True)
class Case:
    """A case of a rule: ``var + offset``, or the level ``offset``."""

    var: str | None
    offset: int
    guard: Piece | None
    body: Piece


class Rule:
    """What a mention of a rule means."""

    made = 0

    def __init__(
        self,
        title: str,
        given: tuple[str, ...],
        defaults: dict[str, Piece | None],
        join: Callable[[Env], Join],
        joined_by: frozenset[str],
        lowest: int,
    ) -> None:
        self.title, self.given, self.defaults, self.join, self.lowest = title, given, defaults, join, lowest
        self.joined_by = joined_by  # the parameters that the join uses
        self.cases: list[Case] = []

    def at(self, env: Env, level: int, args: Mapping[str, Any]) -> Mention:
        """A mention where the names of ``env`` hold."""
        Rule.made += 1
        if Rule.made > MAX_TERMS:
            raise TooLarge
        inside = env.get("@rule") is self
        if inside:
            values = {k: args[k] if k in args else env[k] for k in self.given}
        else:
            values = filled(args, self.defaults, env["@globals"])
        for case in sorted(self.cases, key=lambda c: c.var is not None):
            n = level - case.offset
            if n < 0 or (case.var is None and n != 0):
                continue
            inner = {**env["@globals"], **values, "@rule": self}
            if case.var is not None:
                inner[case.var] = n
            if case.guard is None or case.guard.value(inner):
                open_ = inside and not any(_differ(args[k], env[k]) for k in self.joined_by & args.keys())
                return Mention(level, self.join(inner), case.body.value(inner), open_)
        raise AssertionError(f"no case of {self.title} matches {level}")


def _differ(given: Any, around: Any) -> bool:
    """Whether an argument is another value than that of the enclosing rule. A block that is written is a new one."""
    return not isinstance(given, int | float | tuple) or given != around
