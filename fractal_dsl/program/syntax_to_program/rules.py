"""Rules at their levels: calls, instances, and ``.each``. An instance is expanded once for each set of arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.language.walk import names_in
from fractal_dsl.ops import JOINS
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.arguments import Argument, texts
from fractal_dsl.program.syntax_to_program.binding import bind
from fractal_dsl.program.syntax_to_program.cases import candidates, guard_allows, names_of, no_case
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.core import Core
from fractal_dsl.program.syntax_to_program.levels import does_not_fall, is_reported
from fractal_dsl.program.syntax_to_program.limits import MAX_LEVEL
from fractal_dsl.program.syntax_to_program.names import lookup
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.types import Unknown
from fractal_dsl.program.syntax_to_program.values import EachFn, EnclosingRule, RuleAt, RuleFn, Value, identity

_EXPANSION = 20  # steps for a rule at a level, in addition to its expressions


def mention(core: Core, rule: RuleAt, given: Sequence[Argument], span: Span) -> p.Term:
    """A rule at a level with its arguments, as a block."""
    decl, level, around = rule.decl, rule.level, rule.enclosing
    inside = around is not None and around.decl is decl and around.module is rule.module
    args = _arguments(core, rule, given, span, around.args if around and inside else None)
    if args is None:
        return p.Hole(span)
    if isinstance(level, Unknown):
        if inside:
            _check_change(core.context, rule, level)
        return p.Hole(span)
    if around and isinstance(around.level, Unknown):
        return p.Hole(span)
    if any(isinstance(v, Unknown) for v in args.values()):
        return p.Hole(span)
    instance = _instance(core, rule, level, args)
    if instance is None:
        return p.Hole(span)
    return p.Mention(instance, around is not None and inside and _same_join(decl, args, around.args), span)


def _arguments(
    core: Core, rule: RuleAt, given: Sequence[Argument], span: Span, inherited: Mapping[str, Value] | None
) -> dict[str, Value] | None:
    """The arguments of a call of a rule; None after an error. A default can call the rule, but not with that
    default."""
    context, decl, name = core.context, rule.decl, rule.decl.name.id
    if sum(d is decl and level is None for d, level in context.active) > len(decl.params):
        help = f"pass all arguments to `{name}` where a default calls it"
        context.error("E0407", span, f"the default arguments of `{name}` need themselves", help=help)
        return None
    context.active.append((decl, None))
    args = bind(core, rule.module, name, decl.params, given, span, inherited)
    context.active.pop()
    return args


def _check_change(context: Context, rule: RuleAt, level: Unknown) -> None:
    """Report a call of a rule inside itself at the same level or a higher one."""
    name = rule.decl.name.id
    if level.offset is not None and level.offset >= 0 and not is_reported(context, [rule.decl]):
        rise = f"+{level.offset}" if level.offset else ""
        does_not_fall(context, name, rule.span, [f"{name}[n]", f"{name}[n{rise}]"])


def _same_join(decl: s.RuleDecl, args: Mapping[str, Value], around: Mapping[str, Value]) -> bool:
    """Whether a call of a rule inside itself shares the join of the enclosing rule: it does if the arguments of the
    join are the same. Otherwise its columns get their own join."""
    named = names_in(decl.join) if decl.join is not None else ()
    return all(identity(args[q]) == identity(around[q]) for q in args if q in named)


def _instance(core: Core, rule: RuleAt, level: int, args: dict[str, Value]) -> p.Instance | None:
    context, decl, name = core.context, rule.decl, rule.decl.name.id
    if level > MAX_LEVEL:
        help = "write a plain chain as `block ** n`"
        context.error("E0602", rule.span, f"level {level:,} of `{name}` exceeds the limit of {MAX_LEVEL}", help=help)
        return None
    if _is_active(context, rule, level):
        return None
    key = (id(decl), id(rule.module), level, tuple([(k, identity(v)) for k, v in args.items()]))
    if key not in context.remembered:
        context.remembered[key] = (None, args)
        with context.within(f"{name}[{level}]"):
            # an enclosing layer or argument may recur inside: this ends, since the levels of rules decrease
            outer, context.active = context.active, [entry for entry in context.active if entry[1] is not None]
            context.active.append((decl, level))
            context.remembered[key] = (_expand(core, rule, level, args), args)
            context.active = outer
    return context.remembered[key][0]


def _is_active(context: Context, rule: RuleAt, level: int) -> bool:
    """Whether a rule is already being expanded at this level. Reports it, unless the termination check has."""
    decl, name = rule.decl, rule.decl.name.id
    around = [(d, above) for d, above in context.active if isinstance(d, s.RuleDecl) and above is not None]
    if (decl, level) not in around:
        return False
    if not is_reported(context, [d for d, _ in around[around.index((decl, level)) :]]):
        here = f"{name}[{level}]"
        start = len(context.trail) - 1 - context.trail[::-1].index(here)
        does_not_fall(context, name, rule.span, [*context.trail[start:], here])
    return True


def _expand(core: Core, rule: RuleAt, level: int, args: dict[str, Value]) -> p.Instance | None:
    """The evaluated body of the first case that matches the level; None after an error."""
    context, decl, module = core.context, rule.decl, rule.module
    inner = EnclosingRule(decl, module, args, level)
    context.spend(_EXPANSION + len(decl.cases), rule.span)
    for case, n in candidates(decl, level):
        scope = Scope(module, names_of(case, n, args), None, inner)
        if case.guard is not None:
            allowed = guard_allows(context, case.guard, core.evaluate(case.guard, scope))
            if allowed is None:
                return None
            if not allowed:
                continue
        body = core.block(core.evaluate(case.body, scope), case.body.span)
        if decl.join is None:
            return p.Instance(decl.name.id, level, None, body)
        use = join_of(core, decl.join, Scope(module, args))
        return None if use is None else p.Instance(decl.name.id, level, use, body)
    no_case(context, decl, level, rule.span)
    return None


def join_of(core: Core, expr: s.Expr, scope: Scope) -> p.JoinUse | None:
    """The join of a rule; None after an error, which suggests only joins."""
    value = lookup(core.context, expr, scope, JOINS) if isinstance(expr, s.Name) else core.evaluate(expr, scope)
    return core.join(value, expr.span)


def each(core: Core, func: EachFn, given: Sequence[Argument], span: Span) -> p.Term | Unknown:
    """``F[3](64).each(block)``"""
    context = core.context
    if len(given) != 1 or given[0].name is not None:
        return context.error("E0205", span, "`.each` takes one block: `.each(maxpool2d(2))`")
    block = core.block(given[0].value, given[0].span)
    target = func.target
    while isinstance(target, p.Tagged):
        target = target.body
    if not isinstance(target, p.Mention | p.Bundle | p.Each | p.Hole):
        help = "write `.each` after a rule, such as `F[3](64).each(maxpool2d(2))`; otherwise use `>>`"
        return context.error("E0408", span, "`.each` needs columns, but this is a single block", help=help)
    return p.Each(func.target, block, span)


def without_level(context: Context, rule: RuleFn, given: Sequence[Argument], span: Span) -> Unknown:
    """Report a call of a rule without a level. If there is one argument too many, the help takes it for the level."""
    name, params = rule.decl.name.id, rule.decl.params
    level, args = "3", texts(context, given) or ("…" if params else "")
    if len(given) > len(params):
        level, args = texts(context, given[:1]), texts(context, given[1:])
    if any(a.name is not None and a.name not in [q.name.id for q in params] for a in given):
        level, args = "3", "…"
    help = f"write `{name}[{level}]" + (f"({args})`" if args else "`")
    return context.error("E0406", span, f"rule `{name}` needs a level", help=help)
