"""Rules at their levels: mentions, instances, cases, and ``.each``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from msgspec import Struct

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.binding import Given, bind
from fractal_dsl.program.syntax_to_program.joins import as_join
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.termination import does_not_fall
from fractal_dsl.program.syntax_to_program.values import (
    ANY,
    MAX_LEVEL,
    EachFn,
    RuleAt,
    RuleContext,
    Unknown,
    Value,
    key,
    type_of,
)

if TYPE_CHECKING:
    from fractal_dsl.program.syntax_to_program.evaluate import Evaluator

_EXPANSION = 20  # steps that a rule at a level costs beside its expressions


def each(ev: Evaluator, func: EachFn, given: Sequence[Given], span: Span) -> Value:
    """``F[3](64).each(block)``"""
    if len(given) != 1 or given[0].name is not None:
        return ev.error("E0205", span, "`.each` takes one block: `.each(maxpool2d(2))`")
    block = ev.block(given[0].value, given[0].span)
    target = func.target
    while isinstance(target, p.Tagged):
        target = target.body
    if not isinstance(target, p.Mention | p.Bundle | p.Each | p.Hole):
        help = "write `.each` behind a mention of a rule, such as `F[3](64).each(maxpool2d(2))`; else use `>>`"
        return ev.error("E0408", span, "`.each` needs columns, and this is a single block", help=help)
    return p.Each(func.target, block, span)


def mention(ev: Evaluator, at: RuleAt, given: Sequence[Given], span: Span) -> p.Term:
    """A rule at a level with its arguments, as a block."""
    decl, home, level, name, context = at.decl, at.home, at.level, at.decl.name.id, at.context
    inside = context is not None and context.decl is decl and context.home is home
    args = _arguments(ev, at, given, span, context.args if context and inside else None)
    if args is None:
        return p.Hole(span)
    if isinstance(level, Unknown):
        if inside and level.offset is not None and level.offset >= 0 and not _reported(ev, [decl]):
            rise = f"+{level.offset}" if level.offset else ""
            does_not_fall(ev, name, at.span, [f"{name}[n]", f"{name}[n{rise}]"])
        return p.Hole(span)
    if context and isinstance(context.level, Unknown):
        return p.Hole(span)
    if any(isinstance(v, Unknown) for v in args.values()):
        return p.Hole(span)
    instance = _instance(ev, at, level, args)
    if instance is None:
        return p.Hole(span)
    return p.Mention(instance, context is not None and inside and _same_join(decl, args, context.args), span)


def _same_join(decl: s.RuleDecl, args: Mapping[str, Value], around: Mapping[str, Value]) -> bool:
    """Whether a mention of a rule within itself has the join of the rule around: the same arguments where the join
    is named. With others its columns are closed by a join of their own."""
    return all(key(args[q]) == key(around[q]) for q in args if decl.join is not None and _mentions(decl.join, q))


def _arguments(
    ev: Evaluator, at: RuleAt, given: Sequence[Given], span: Span, inherited: Mapping[str, Value] | None
) -> dict[str, Value] | None:
    """The arguments of a mention; None after an error. A default may mention the rule, but not with that default."""
    decl, name = at.decl, at.decl.name.id
    if sum(d is decl and level is None for d, level in ev.active) > len(decl.params):
        help = f"give `{name}` its arguments where a default mentions it"
        ev.error("E0407", span, f"the default arguments of `{name}` need themselves", help=help)
        return None
    ev.active.append((decl, None))
    args = bind(ev, at.home, name, decl.params, given, span, inherited)
    ev.active.pop()
    return args


def _reported(ev: Evaluator, decls: Sequence[s.RuleDecl]) -> bool:
    """Whether a level that does not fall is reported in one of these rules already."""
    known = [d.span for d in ev.report.found if d.code == "E0404"]
    return any(r.span.start <= at.start < r.span.end for at in known for r in decls)


def _instance(ev: Evaluator, at: RuleAt, level: int, args: dict[str, Value]) -> p.Instance | None:
    decl, name, span = at.decl, at.decl.name.id, at.span
    if level > MAX_LEVEL:
        help = "a plain chain is written `block ** n`"
        ev.error("E0602", span, f"level {level:,} of `{name}` is over the limit of {MAX_LEVEL}", help=help)
        return None
    around = [(d, above) for d, above in ev.active if isinstance(d, s.RuleDecl) and above is not None]
    if (decl, level) in around:
        if not _reported(ev, [d for d, _ in around[around.index((decl, level)) :]]):
            here = f"{name}[{level}]"
            start = len(ev.trail) - 1 - ev.trail[::-1].index(here)
            does_not_fall(ev, name, span, [*ev.trail[start:], here])
        return None
    identity = (id(decl), id(at.home), level, tuple([(k, key(v)) for k, v in args.items()]))
    if identity not in ev.remembered:
        ev.remembered[identity] = (None, args)
        with ev.within(f"{name}[{level}]"):
            # a layer or an argument around may be needed again within: the levels of the rules fall, so that ends
            outer, ev.active = ev.active, [entry for entry in ev.active if entry[1] is not None]
            ev.active.append((decl, level))
            ev.remembered[identity] = (_expand(ev, at, level, args), args)
            ev.active = outer
    return ev.remembered[identity][0]


def _expand(ev: Evaluator, at: RuleAt, level: int, args: dict[str, Value]) -> p.Instance | None:
    decl, home, span = at.decl, at.home, at.span
    context = RuleContext(decl, home, args, level)
    ev.spend(_EXPANSION + len(decl.cases), span)
    fixed_first = sorted(decl.cases, key=lambda c: c.var is not None)
    for case in fixed_first:
        n = level - case.offset
        if (case.var is None and n != 0) or n < 0:
            continue
        names = {**args, case.var.id: n} if case.var is not None else args
        scope = Scope(home, names, None, context)
        if case.guard is not None:
            allowed = ev.eval(case.guard, scope)
            if not isinstance(allowed, bool):
                if allowed is not ANY:
                    ev.error("E0301", case.guard.span, f"a guard is true or false, found {type_of(allowed)}")
                return None
            if not allowed:
                continue
        body = ev.block(ev.eval(case.body, scope), case.body.span)
        use = None
        if decl.join is not None:
            use = as_join(ev, ev.join(decl.join, Scope(home, args)), decl.join.span)
            if use is None:
                return None
        return p.Instance(decl.name.id, level, use, body)
    name = decl.name.id
    if has_base(decl):
        known = ", ".join([_head(ev, c) for c in decl.cases])
        end = _missing_end(ev, decl, level)
        help = f"its cases are {known}" + (f"; the levels fall past their end: add `{name}[{end}] = …`" if end else "")
        ev.error("E0403", span, f"no case of `{name}` matches level {level}", help=help)
    return None


def _missing_end(ev: Evaluator, decl: s.RuleDecl, level: int) -> int | None:
    """The lowest positive level without a case of its own on a way down to ``level``, below all cases; else None."""
    fixed = [c.offset for c in decl.cases if c.var is None and c.guard is None]
    above = [at for d, at in ev.active if d is decl and at is not None and at != level]
    if not above or level >= min(fixed, default=1):
        return None
    return min([at for at in (level, *above) if at > 0 and at not in fixed], default=None)


def _head(ev: Evaluator, case: s.Case) -> str:
    """A case's head as messages show it, its guard as it is written."""
    level = str(case.offset)
    if case.var is not None:
        level = case.var.id + (f"+{case.offset}" if case.offset else "")
    guard = case.guard.span if case.guard is not None else None
    text = " ".join(ev.report.sources.at(guard).slice(guard).split()) if guard else ""
    return f"{case.rule.id}[{level}]" + (f" when {text}" if text else "")


def has_base(decl: s.RuleDecl) -> bool:
    """Whether some case ends the recursion: a fixed level, a guard, or a body that mentions the rule nowhere, or
    only in loops, which may be over an empty list."""
    return any(
        c.var is None or c.guard is not None or not _mentions(c.body, decl.name.id, loops=False) for c in decl.cases
    )


def _mentions(node: object, name: str, *, loops: bool = True) -> bool:
    """Whether a name stands in an expression; without ``loops`` outside those over lists that may be empty."""
    if isinstance(node, s.Name):
        return node.id == name
    if isinstance(node, tuple):
        return any(_mentions(x, name, loops=loops) for x in cast(tuple[object, ...], node))
    if isinstance(node, s.Comprehension) and not loops and not isinstance(node.iterable, s.Items):
        return _mentions(node.iterable, name, loops=loops)
    fields = node.__struct_fields__ if isinstance(node, Struct) else ()
    return any(_mentions(getattr(node, f), name, loops=loops) for f in fields)
