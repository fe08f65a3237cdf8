"""What every part of the evaluation shares: the report, the trail, the budget, and what was evaluated before."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from msgspec import Struct, field

from fractal_dsl.base.errors import Help, suggestion
from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.source import Span
from fractal_dsl.program.syntax_to_program.limits import MAX_STEPS, OutOfSteps
from fractal_dsl.program.syntax_to_program.types import ANY, Unknown
from fractal_dsl.program.syntax_to_program.values import Value, is_list

_MAX_COMPARED = 50_000  # names that unknown ones are compared with; the errors beyond have no suggestion

Active = list[tuple[s.RuleDecl | s.LayerDecl, int | None]]
"""The rules at their levels, layers and arguments (both without a level) that are being evaluated."""


class Context(Struct):
    """Errors go to ``report``, with the ``trail`` of rules and layers that they came about in.

    ``remembered`` holds the bodies of layers and the instances of rules by their identity, each with what must live as
    long as it. ``max_repeat`` is the most that a block may be repeated.
    """

    report: Report
    max_repeat: int
    trail: list[str] = field(default_factory=list[str])
    active: Active = field(default_factory=Active)
    remembered: dict[object, tuple[Value, Value]] = field(default_factory=dict[object, tuple[Value, Value]])
    weighed: dict[int, tuple[Value, int, int]] = field(default_factory=dict[int, tuple[Value, int, int]])
    steps: int = 0
    compared: int = 0

    def error(self, code: str, span: Span, message: str, *, label: str = "", help: Help = None) -> Unknown:
        """Report an error; the result stands for the value that there is not."""
        self.report.error(code, span, message, label=label, help=help, trail=reversed(self.trail))
        return ANY

    @contextmanager
    def within(self, what: str) -> Generator[None]:
        """Name the rule or layer that errors come about in."""
        self.trail.append(what)
        try:
            yield
        finally:
            self.trail.pop()

    def spend(self, steps: int, span: Span) -> None:
        """Count steps of evaluation. Over the limit, report that and raise OutOfSteps."""
        self.steps += steps
        if self.steps > MAX_STEPS:
            help = "loops in loops multiply, and so do arguments that differ at every level of a rule"
            self.report.error("E0602", span, f"this file takes over {MAX_STEPS:,} steps to evaluate", help=help)
            raise OutOfSteps

    def weigh(self, value: Value) -> tuple[int, int]:
        """The elements of a list with those of the lists in it, and how deep lists stand in lists; (1, 0) for
        anything else."""
        if not is_list(value):
            return 1, 0
        if id(value) not in self.weighed:
            inner = [self.weigh(v) for v in value if is_list(v)]
            weight = 1 + len(value) - len(inner) + sum([w for w, _ in inner])
            depth = 1 + max([d for _, d in inner], default=0)
            self.weighed[id(value)] = (value, weight, depth)  # the list lives on: its id stays its own
        return self.weighed[id(value)][1:]

    def written(self, span: Span) -> str:
        """An expression as the file has it, on one line."""
        return " ".join(self.report.sources.slice(span).split())

    def suggestion(self, name: str, known: Sequence[str]) -> str | None:
        """A help text that names the nearest known name."""
        self.compared += len(known)
        return suggestion(name, known) if self.compared <= _MAX_COMPARED else None
