"""The state that all parts of the evaluator share: the report, the trail, the budget, and the memo."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from msgspec import Struct, field

from fractal_dsl.base.errors import Help, suggestion
from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.source import Span
from fractal_dsl.program.mentioned import Mentioned
from fractal_dsl.program.syntax_to_program.limits import MAX_STEPS, OutOfSteps
from fractal_dsl.program.syntax_to_program.types import ANY, Unknown
from fractal_dsl.program.syntax_to_program.values import Value, is_list

_MAX_COMPARED = 50_000  # comparisons with known names; errors past this limit get no suggestion

Active = list[tuple[s.RuleDecl | s.LayerDecl, int | None]]
"""The rules, with their level, and the layers and arguments, with None, that are being evaluated."""


class Context(Struct):
    """The state of one evaluation. Errors go to ``report``, with the ``trail`` of rules and layers that led to them.

    ``remembered`` maps the identity of layer bodies and rule instances to their values, each with the objects whose ids
    are in the key, to keep them alive. ``max_repeat`` is the largest repetition of a block. ``mentioned`` holds the
    values that terms mention, and ``bound`` counts the values that were bound. ``named_input`` tells whether the body
    of the present net mentions an input.
    """

    report: Report
    max_repeat: int
    trail: list[str] = field(default_factory=list[str])
    active: Active = field(default_factory=Active)
    remembered: dict[object, tuple[Value, Value]] = field(default_factory=dict[object, tuple[Value, Value]])
    mentioned: Mentioned = field(default_factory=Mentioned)
    weighed: dict[int, tuple[Value, int, int]] = field(default_factory=dict[int, tuple[Value, int, int]])
    steps: int = 0
    compared: int = 0
    bound: int = 0
    named_input: bool = False

    def error(self, code: str, span: Span, message: str, *, label: str = "", help: Help = None) -> Unknown:
        """Report an error. The result replaces the missing value."""
        self.report.error(code, span, message, label=label, help=help, trail=reversed(self.trail))
        return ANY

    @contextmanager
    def within(self, part: str) -> Generator[None]:
        """Add a rule or layer to the trail of errors inside it."""
        self.trail.append(part)
        try:
            yield
        finally:
            self.trail.pop()

    def spend(self, steps: int, span: Span) -> None:
        """Count steps of evaluation. Past the limit, report an error and raise OutOfSteps."""
        self.steps += steps
        if self.steps > MAX_STEPS:
            help = "nested loops multiply, and so do arguments that differ at every level of a rule"
            self.report.error("E0602", span, f"this file takes more than {MAX_STEPS:,} steps to evaluate", help=help)
            raise OutOfSteps

    def weigh(self, value: Value) -> tuple[int, int]:
        """The number of elements of a list, including nested lists, and its depth; (1, 0) for anything else."""
        if not is_list(value):
            return 1, 0
        if id(value) not in self.weighed:
            inner = [self.weigh(v) for v in value if is_list(v)]
            weight = 1 + len(value) - len(inner) + sum([w for w, _ in inner])
            depth = 1 + max([d for _, d in inner], default=0)
            self.weighed[id(value)] = (value, weight, depth)  # keep the list alive, so that its id stays unique
        return self.weighed[id(value)][1:]

    def written(self, span: Span) -> str:
        """An expression as written in the file, on one line."""
        return " ".join(self.report.sources.slice(span).split())

    def suggestion(self, name: str, known: Sequence[str]) -> str | None:
        """A help text that names the nearest known name."""
        self.compared += len(known)
        return suggestion(name, known) if self.compared <= _MAX_COMPARED else None
