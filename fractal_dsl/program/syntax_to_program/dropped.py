"""``block @drop(10%)``: branches of inline joins that training leaves out (stochastic depth, Huang et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.ops import DROP_EXAMPLES
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.arguments import Argument, Callee, match_arguments
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.core import Core
from fractal_dsl.program.syntax_to_program.typed import conforming
from fractal_dsl.program.syntax_to_program.types import ANY, Type, Unknown
from fractal_dsl.program.syntax_to_program.values import Dropped, Value, show

_DROP = Callee("@drop", ["p", "by"], ["p"])
_LINEAR = ("sum", "mean", "concat")
"""The joins that can take zeros for a branch."""


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
    by_example = "by" in chosen and _by_example(context, chosen["by"])
    drop = _probability(context, chosen["p"])
    return ANY if drop is None or by_example is None else Dropped(block, drop, by_example, expr.span)


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


def _by_example(context: Context, arg: Argument) -> bool | None:
    """Whether a branch is left out for some examples of a mini-batch, not for all of it; None after an error."""
    if isinstance(arg.value, Unknown) or arg.value in ("batch", "example"):
        return arg.value == "example"
    message = f'`by` of `@drop` must be "batch" or "example", found {show(arg.value)}'
    context.error("E0302", arg.span, message, help='"batch" is the default: only then a branch is not computed')
    return None


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


def merge_branches(core: Core, use: p.JoinUse, branches: Sequence[Argument], span: Span) -> p.Merge:
    """An inline join of branches. One that is dropped by example ends in a layer that does it."""
    blocks: list[p.Term] = []
    drops: list[float] = []
    for branch in branches:
        block, drop = branch.value, 0.0
        if isinstance(block, Dropped):
            block, drop = _branch(core.context, use, block, alone=len(branches) == 1)
        blocks.append(core.block(block, branch.span))
        drops.append(drop)
    return p.Merge(use, tuple(blocks), span, tuple(drops) if any(drops) else ())


def _branch(context: Context, use: p.JoinUse, branch: Dropped, *, alone: bool) -> tuple[p.Term, float]:
    """A branch, and the probability that a training step leaves it out."""
    if not branch.drop:
        return branch.block, 0.0
    if alone:
        help, trail = "add a branch, such as `id`", reversed(context.trail)
        message = "`@drop` has no effect: the only branch of a join always stays"
        context.report.warning("W0701", branch.span, message, help=help, trail=trail)
        return branch.block, 0.0
    if not branch.by_example:
        return branch.block, branch.drop
    if use.spec.name not in _LINEAR:
        message = f"`{use.spec.name}` cannot leave out a branch by example, because zeros would count"
        help = f"leave `by` out, or join with {', '.join(_LINEAR)}"
        context.error("E0302", branch.span, message, help=help)
    return p.Seq((branch.block, p.Op(DROP_EXAMPLES, {"p": branch.drop}, branch.span)), branch.span), 0.0
