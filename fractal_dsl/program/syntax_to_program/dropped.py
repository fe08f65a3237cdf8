"""``block @drop(10%)``: branches of inline joins that training leaves out (stochastic depth, Huang et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.language import syntax as s
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.arguments import Argument, Callee, match_arguments
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.core import Core
from fractal_dsl.program.syntax_to_program.typed import conforming
from fractal_dsl.program.syntax_to_program.types import ANY, Type, Unknown
from fractal_dsl.program.syntax_to_program.values import Dropped, Value, show

_DROP = Callee("@drop", ["p", "by"], ["p"])
_BY_EXAMPLE = (
    "leave `by` out: a branch is left out for the whole mini-batch, and then it is not computed. If it were left out "
    "for some examples only, it would be computed for all of them"
)


def dropped(core: Core, expr: s.Annotated, base: Value, given: Sequence[Argument]) -> Dropped | Unknown:
    """``block @drop(p)``; Unknown after an error."""
    context = core.context
    if isinstance(base, Dropped):
        help = "write one `@drop`"
        return context.error("E0204", expr.span, "this branch has a `@drop` already", help=help)
    block, chosen = core.block(base, expr.base.span), match_arguments(context, _DROP, given)
    if chosen is None:
        return ANY
    if "p" not in chosen:
        return context.error("E0205", expr.span, "`@drop` needs a probability", help="write `@drop(10%)`")
    sound = "by" not in chosen or _check_by(context, chosen["by"])
    drop = _probability(context, chosen["p"])
    return ANY if drop is None or not sound else Dropped(block, drop, expr.span)


def _probability(context: Context, arg: Argument) -> float | None:
    """The probability of a branch, or 0 while it is unknown; None after an error."""
    value = conforming(context, arg.value, Type("prob"), arg.span, "`p` of `@drop`", arg.expr)
    if value is None:
        return None
    if isinstance(value, Unknown):
        return 0.0
    if value >= 1:
        message = "a branch with `@drop(100%)` would never be trained, but evaluation runs every branch"
        context.error("E0302", arg.span, message, help="write a probability below 100%, or leave the branch out")
        return None
    return float(value)


def _check_by(context: Context, arg: Argument) -> bool:
    """Whether branches are to be drawn for whole mini-batches. Reports if not."""
    if isinstance(arg.value, Unknown) or arg.value == "batch":
        return True
    if arg.value == "example":
        context.error("E0302", arg.span, "`@drop` does not draw by example", help=_BY_EXAMPLE)
    else:
        context.error("E0302", arg.span, f'`by` of `@drop` must be "batch", found {show(arg.value)}', help=_BY_EXAMPLE)
    return False


def misplaced(context: Context, value: Dropped, help: str | None = None) -> p.Hole:
    """Report a ``@drop`` that is not on a branch of an inline join."""
    message = "`@drop` belongs on a branch of an inline join, where other branches remain"
    help = help or "write it where the join is: `sum(id, block @drop(10%))`"
    context.error("E0409", value.span, message, help=help)
    return p.Hole(value.span)


def check_steps(context: Context, expr: s.Flow, steps: Sequence[Value]) -> None:
    """Report a ``@drop`` on a step of a chain, which is only a part of a branch."""
    for step in steps:
        if isinstance(step, Dropped):
            misplaced(
                context, step, "an annotation binds tighter than `>>`: write `(a >> b) @drop(10%)` for the whole branch"
            )


def check_columns(context: Context, columns: Sequence[Value]) -> None:
    """Report a ``@drop`` on a column of a rule."""
    for column in columns:
        if isinstance(column, Dropped):
            misplaced(context, column, "an option of the net drops columns of rules: `with drop_path(local=10%)`")


def drops_of(context: Context, branches: Sequence[Argument]) -> tuple[float, ...]:
    """The probabilities of the branches of an inline join; empty if none is left out."""
    drops = tuple([b.value.drop if isinstance(b.value, Dropped) else 0.0 for b in branches])
    if not any(drops):
        return ()
    if len(drops) == 1:
        span = branches[0].value.span
        message = "`@drop` has no effect: the only branch of a join always stays"
        context.report.warning("W0701", span, message, help="add a branch, such as `id`", trail=reversed(context.trail))
        return ()
    return drops
