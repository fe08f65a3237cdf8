"""What a walk over the terms of a net checks and reports: shapes of joins, sizes, likely misreadings."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.source import Span
from fractal_dsl.ops import ShapeError, Tensor
from fractal_dsl.program import program as p
from fractal_dsl.program.columns import Label
from fractal_dsl.program.program_to_summary.hints import operand_names, operands_help
from fractal_dsl.program.program_to_summary.layouts import leading_argument, swapped_axes
from fractal_dsl.program.program_to_summary.signals import Signal
from fractal_dsl.program.program_to_summary.summary import approximate

MAX_NUMBERS = 10**11  # elements of a tensor, and parameters of a net: 400 GB in float32


class Checks:
    """Reports on the parts of a net. ``trail`` names what is around the present one, and ``behind`` is the layer that
    makes its input read [length, features], if any does."""

    def __init__(self, program: p.Program, report: Report) -> None:
        self.program, self.report = program, report
        self.trail = [f"net {program.net}"]
        self.behind = ""

    def error(self, error: ShapeError, span: Span, message: str | None = None) -> None:
        """Report a shape error of the part at ``span``."""
        self.report.error(error.code, span, message or error.message, help=error.help, trail=reversed(self.trail))

    def warn(self, term: p.Op, x: Tensor, params: int) -> None:
        """Warn of a layer that most likely misreads its input."""
        trail = [*reversed(self.trail)]
        if message := swapped_axes(term.spec, x, params, self.behind):
            help = f"`transpose(1, 2)` before `{term.spec.name}` swaps the axes"
            self.report.warning("W0501", term.span, message, help=help, trail=trail)
        elif odd := leading_argument(term.spec, x, term.args):
            self.report.warning("W0502", term.span, odd[0], help=odd[1], trail=trail)

    def affordable(self, out: Tensor | None, params: int, subject: str, span: Span) -> bool:
        """Whether tensors and weights have at most MAX_NUMBERS elements. Reports if not."""
        size = prod(out.shape) if out else 0
        if max(size, params) <= MAX_NUMBERS:
            return True
        counted = f"{approximate(params)} parameters" if params > MAX_NUMBERS else f"{approximate(size)} numbers"
        message = f"{subject} would have {counted}; the limit is {MAX_NUMBERS:,}"
        self.report.error("E0601", span, message, trail=reversed(self.trail))
        return False

    def check_drops(self, term: p.Merge, branches: Sequence[Signal]) -> None:
        """Check that an inline join keeps its output whichever of its branches are left out."""
        known = [s.out for s in branches if s.out is not None]
        if len(known) < len(branches):
            return
        try:
            out = term.join.spec.out(tuple(known), term.join.args)
            if out.dtype != "f32":
                message = "`@drop` needs `f32` operands: whole numbers cannot make up for a branch that is left out"
                raise ShapeError(message, code="E0501")
            _check_subsets(term.join, known, out, "branches", "`@drop` leaves branches out")
        except ShapeError as error:
            if error.operands is None:
                self.error(error, term.span)

    def check_shortcut(self, term: p.Merge, branches: Sequence[Signal], out: Tensor | None) -> None:
        """Warn of an ``id`` in a sum or mean that is repeated to the shape of the other branches."""
        if out is None or term.join.spec.name not in ("sum", "mean"):
            return
        for signal in branches:
            if signal.out is None or signal.out == out or self.text(signal.span) != "id":
                continue
            message = f"`id` outputs {signal.out}, and `{term.join.spec.name}` repeats it to {out}"
            help = operands_help(("id", "the others"), (signal.out, out), (None, None), None)
            trail = [*reversed(self.trail)]
            self.report.warning("W0503", signal.span, message, help=help and f"for a shortcut, {help}", trail=trail)

    def joined(self, signals: Sequence[Signal], join: p.JoinUse, labels: Sequence[Label] | None) -> Tensor | None:
        """The output of a join, of columns if there are labels; None after an error."""
        tensors = [s.out for s in signals]
        known = [t for t in tensors if t is not None]
        if len(known) < len(tensors):
            return None
        try:
            out = join.spec.out(tuple(known), join.args)
            if labels is not None:
                _check_subsets(join, known, out, "columns", "drop-path drops columns")
            return out
        except ShapeError as error:
            if error.operands is None:
                self.error(error, join.span)
                return None
            a, b = error.operands
            texts = [self.text(signals[i].span) for i in (a, b)]
            names = operand_names(texts, (a, b), labels)
            if join.spec.name != "concat" and not join.spec.inline:
                last = [signals[i].last for i in (a, b)]
                error.help = operands_help(texts, (known[a], known[b]), last, error.help)
            message = f"{error.message}, but {names[0]} outputs {known[a]} and {names[1]} outputs {known[b]}"
            self.error(error, signals[b].span, message)
            return None

    def text(self, span: Span) -> str:
        """The text at a span, on one line and shortened."""
        text = " ".join(self.program.sources.slice(span).split())
        return text if len(text) <= 40 else text[:37] + "…"


def _check_subsets(join: p.JoinUse, operands: Sequence[Tensor], out: Tensor, noun: str, reason: str) -> None:
    """Check that a join keeps its output shape for any subset of live operands. Raises ShapeError."""
    if join.spec.name == "concat":  # dropped operands become zeros
        return
    if join.spec.inline:
        raise ShapeError(f"`{join.spec.name}` needs all its operands, but {reason}", "call it with blocks", "E0501")
    for count in range(1, len(operands) + 1):
        fewer = join.spec.out(tuple(operands[:count]), join.args) if 1 < count < len(operands) else out
        other = next((x for x in (*operands, fewer) if x != out), None)
        if other is not None:
            message = f"`{join.spec.name}` outputs {out} for {len(operands)} {noun}, but {other} for fewer"
            help = f"{reason}, and passes a single one unchanged: use a join that keeps their shape"
            raise ShapeError(message, help, "E0501")
