"""Calls: binding of arguments, built-in functions, layers, joins, and rules at their levels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fractal_dsl import program as p
from fractal_dsl import syntax as s
from fractal_dsl.diagnostics import suggestion
from fractal_dsl.ops import REQUIRED, JoinSpec, OpParam
from fractal_dsl.ops import Value as OpValue
from fractal_dsl.source import Span
from fractal_dsl.syntax_to_program.values import (
    ANY,
    MAX_LEVEL,
    MAX_LIST,
    TERMS,
    BLOCKS,
    Builtin,
    EachFn,
    JoinFn,
    LayerFn,
    OpFn,
    Prob,
    RuleAt,
    RuleContext,
    RuleFn,
    SCALARS,
    Type,
    Unknown,
    Value,
    fits,
    key,
    show,
    type_of,
)

if TYPE_CHECKING:
    from fractal_dsl.syntax_to_program.evaluate import Evaluator, Scope


@dataclass(frozen=True, slots=True)
class Given:
    """An evaluated argument."""

    name: str | None
    value: Value
    span: Span


def call(ev: Evaluator, expr: s.Call, scope: Scope) -> Value:
    """The value of a call."""
    func = ev.eval(expr.func, scope)
    given = [Given(a.name, ev.eval(a.value, scope), a.span) for a in expr.args]
    if func is ANY:
        return ANY
    return apply(ev, func, given, expr.span)


def apply(ev: Evaluator, func: Value, given: Sequence[Given], span: Span) -> Value:
    """Call a value with arguments."""
    match func:
        case OpFn():
            args = bind_op(ev, func.spec.name, func.spec.params, given, span)
            return p.Hole(span) if args is None else p.Op(func.spec, args, span)
        case LayerFn() if func.decl.is_join:
            return user_join(ev, func.decl, given, span)
        case LayerFn():
            return layer(ev, func.decl, given, span)
        case JoinFn():
            branches, rest = _split(given)
            args = bind_op(ev, func.spec.name, func.spec.params, rest, span)
            if args is None:
                return p.Hole(span) if branches else ANY
            return _merge(ev, p.JoinUse(func.spec, args, None, span), branches, span)
        case RuleAt():
            return mention(ev, func, given, span)
        case RuleFn():
            name = func.decl.name.id
            return ev.error("E0406", span, f"rule `{name}` needs a level", help=f"write `{name}[3](…)`")
        case Builtin():
            return _BUILTINS[func.name](ev, given, span)
        case EachFn():
            return each(ev, func, given, span)
        case p.JoinUse():
            branches, rest = _split(given)
            if rest:
                return ev.error("E0206", rest[0].span, "this join has its arguments already")
            return _merge(ev, func, branches, span)
        case Unknown() if func.type.name in ("block", "join"):
            return p.Hole(span)
        case _:
            return ev.error("E0303", span, f"a {type_of(func)} cannot be called")


# --- binding


def bind_op(
    ev: Evaluator, name: str, params: Sequence[OpParam], given: Sequence[Given], span: Span
) -> dict[str, OpValue] | None:
    """Arguments of a built-in, complete and in order; None after an error."""
    names = [q.name for q in params]
    chosen = _assign(ev, name, names, given)
    if chosen is None:
        return None
    args: dict[str, OpValue] = {}
    sound = True
    for param in params:
        if param.name in chosen:
            value = _op_value(ev, name, param, chosen[param.name])
            sound = sound and value is not ANY
            args[param.name] = None if isinstance(value, Unknown) else value
            sound = sound and not isinstance(value, Unknown)
        elif param.default is REQUIRED:
            shape = ", ".join(q.name if q.default is REQUIRED else f"{q.name}={show_op(q.default)}" for q in params)
            ev.error("E0205", span, f"`{name}` needs `{param.name}`", help=f"it takes `{name}({shape})`")
            return None
        else:
            assert not isinstance(param.default, type(REQUIRED))
            args[param.name] = param.default
    return args if sound else None


def show_op(value: object) -> str:
    """A default as the language writes it; None is a value that the layer finds itself."""
    return "…" if value is None else show(value)


def _assign(ev: Evaluator, name: str, names: Sequence[str], given: Sequence[Given]) -> dict[str, Given] | None:
    """Match arguments to parameter names; None after an error."""
    chosen: dict[str, Given] = {}
    free = iter(names)
    sound = True
    for arg in given:
        target = arg.name if arg.name is not None else next(free, None)
        if target is None:
            takes = f"`{name}` takes {len(names)} arguments" if names else f"`{name}` takes no arguments"
            help = f"they are {', '.join(names)}" if names else None
            ev.error("E0206", arg.span, f"{takes}; this is one too many", help=help)
            sound = False
        elif target not in names:
            help = suggestion(target, names) or (f"it has {', '.join(names)}" if names else None)
            ev.error("E0203", arg.span, f"`{name}` has no parameter `{target}`", help=help)
            sound = False
        elif target in chosen:
            ev.error("E0204", arg.span, f"`{target}` of `{name}` is given twice")
            sound = False
        else:
            chosen[target] = arg
    return chosen if sound else None


_SIZES = ("size", "optional size", "padding")


def _op_value(ev: Evaluator, name: str, param: OpParam, arg: Given) -> Value:
    """One argument of a built-in, checked; Unknown if it is not known."""
    value, what = arg.value, f"`{param.name}` of `{name}`"
    if param.kind in _SIZES:
        if param.kind == "padding" and value in ("same", "valid"):
            return value
        if isinstance(value, Unknown) and value.type.name in ("any", "int", "list"):
            return value
        if isinstance(value, tuple) and any(isinstance(v, Unknown) for v in value):
            return ANY
        checked = fits(value, Type("list", Type("int"))) if isinstance(value, tuple) else fits(value, Type("int"))
        wanted = "a whole number, or a list of one for each axis"
    else:
        checked, wanted = fits(value, Type(param.kind)), param.kind
    if checked is None:
        return ev.error("E0301", arg.span, f"{what} is {wanted}, found {type_of(value)}", help=_type_help(value, param.kind))
    if isinstance(checked, Unknown):
        return checked
    if param.choices and checked not in param.choices:
        help = suggestion(str(checked), param.choices) or f"it is one of {', '.join(map(show, param.choices))}"
        return ev.error("E0302", arg.span, f"{what} cannot be {show(checked)}", help=help)
    numbers = checked if isinstance(checked, tuple) else (checked,)
    if param.kind == "prob" and not 0 <= checked <= 1:
        return _not_prob(ev, checked, arg.span)
    if param.low is not None and any(v < param.low for v in numbers):
        return ev.error("E0302", arg.span, f"{what} is at least {param.low:g}, found {show(checked)}")
    return float(checked) if isinstance(checked, Prob) else checked


def _not_prob(ev: Evaluator, value: float, span: Span) -> Unknown:
    help = "a probability lies between 0 and 1, or 0% and 100%"
    return ev.error("E0302", span, f"{float(value):g} is not a probability", help=help)


def _type_help(value: Value, wanted: str) -> str | None:
    if wanted == "int" and isinstance(value, float) and not isinstance(value, Prob):
        return f"write a whole number, such as {round(value)}; `//` divides to one"
    if wanted == "bool" and value in (0, 1):
        return "write `true` or `false`"
    return None


def type_from(ev: Evaluator, expr: s.TypeExpr) -> Type:
    """A declared type. Tensors type nets only."""
    if expr.item is not None:
        return Type("list", type_from(ev, expr.item))
    if expr.name not in SCALARS or expr.dims is not None:
        known = (*SCALARS, "[int]")
        help = suggestion(expr.name, SCALARS) or f"the types are {', '.join(known)}"
        ev.error("E0201", expr.span, f"unknown type `{expr.name}`", help=help)
        return Type("any")
    return Type(expr.name)


def checked(ev: Evaluator, value: Value, type: Type, span: Span, what: str) -> Value:
    """A value of the declared type, or Unknown after an error."""
    if type.name == "any":
        return ANY
    result = fits(value, type)
    if result is None:
        help = _type_help(value, type.name)
        return ev.error("E0301", span, f"{what} is {type}, found {type_of(value)}", help=help)
    if type.name == "prob" and not isinstance(result, Unknown) and not 0 <= result <= 1:
        return _not_prob(ev, result, span)
    if type.name == "list" and type.item == Type("prob") and isinstance(result, tuple):
        for v in result:
            if not isinstance(v, Unknown) and not 0 <= v <= 1:
                return _not_prob(ev, v, span)
    if type.name == "block":
        return ev.block(result, span)
    return result


def bind(
    ev: Evaluator,
    name: str,
    params: Sequence[s.Parameter],
    given: Sequence[Given],
    span: Span,
    inherited: Mapping[str, Value] | None = None,
) -> dict[str, Value] | None:
    """Arguments of a user's layer, join or rule; None after an error. Defaults see earlier parameters."""
    from fractal_dsl.syntax_to_program.evaluate import Scope

    chosen = _assign(ev, name, [q.name.id for q in params], given)
    if chosen is None:
        return None
    args: dict[str, Value] = {}
    for param in params:
        id = param.name.id
        if id in chosen:
            type = type_from(ev, param.type)
            args[id] = checked(ev, chosen[id].value, type, chosen[id].span, f"`{id}` of `{name}`")
        elif inherited is not None:
            args[id] = inherited[id]
        elif param.default is None:
            shape = ", ".join(f"{q.name.id}: {_show_type(q.type)}" for q in params)
            ev.error("E0205", span, f"`{name}` needs `{id}`", help=f"it takes `{name}({shape})`")
            return None
        else:
            value = ev.eval(param.default, Scope(args))
            args[id] = checked(ev, value, type_from(ev, param.type), param.default.span, f"`{id}` of `{name}`")
    return args


def _show_type(type: s.TypeExpr) -> str:
    return f"[{_show_type(type.item)}]" if type.item else type.name


# --- layers and joins


def layer(ev: Evaluator, decl: s.LayerDecl, given: Sequence[Given], span: Span) -> Value:
    """A call of a user's layer."""
    body = _body(ev, decl, given, span)
    return p.Hole(span) if body is None else p.Group(decl.name.id, body, span)


def _body(ev: Evaluator, decl: s.LayerDecl, given: Sequence[Given], span: Span) -> Value | None:
    """The body of a user's layer as a block, or of a user's join as a JoinUse; None after an error."""
    from fractal_dsl.syntax_to_program.evaluate import Scope

    name = decl.name.id
    if any(d is decl for d, _ in ev.active):
        path = " -> ".join([d.name.id for d, _ in ev.active] + [name])
        ev.error("E0407", span, f"`{name}` needs itself: {path}", help="recursion is written as a rule, with levels")
        return None
    args = bind(ev, name, decl.params, given, span)
    if args is None:
        return None
    identity = (id(decl), tuple([key(v) for v in args.values()]))
    if identity not in ev.remembered:
        ev.active.append((decl, None))
        with ev.within(name):
            value, at = ev.eval(decl.body, Scope(args)), decl.body.span
            body = as_join(ev, value, at) if decl.is_join else ev.block(value, at)
            ev.remembered[identity] = (body, args)  # args live on: keys hold their ids
        ev.active.pop()
    return ev.remembered[identity][0]


def user_join(ev: Evaluator, decl: s.LayerDecl, given: Sequence[Given], span: Span) -> Value:
    """A call of a user's join: with branches a join on the spot, without them a join for a rule."""
    branches, rest = _split(given, decl.params)
    use = _body(ev, decl, rest, span)
    if use is None:
        return p.Hole(span) if branches else ANY
    return _merge(ev, use, branches, span)


def as_join(ev: Evaluator, value: Value, span: Span) -> p.JoinUse | None:
    """A value as a join: a built-in one, a user's, or the value of a user's join body; None after an error."""
    match value:
        case Unknown() if value.type.name in ("any", "join"):
            return None
        case p.JoinUse():
            return value
        case JoinFn() | LayerFn() if type_of(value) == "join":
            use = apply(ev, value, (), span)
            return use if isinstance(use, p.JoinUse) else None
        case _:
            help = "a join begins with mean, sum, max or concat: `concat >> conv2d(64, 1)`"
            ev.error("E0301", span, f"expected a join, found {type_of(value)}", help=help)
            return None


def _split(given: Sequence[Given], params: Sequence[s.Parameter] = ()) -> tuple[list[Given], list[Given]]:
    """Branches (blocks by position) and the other arguments of a join."""
    blocks = {i for i, q in enumerate(params) if q.type.name == "block"}
    branches: list[Given] = []
    rest: list[Given] = []
    for i, arg in enumerate(given):
        value = arg.value
        if arg.name is None and i not in blocks and isinstance(value, tuple) and value and isinstance(value[0], BLOCKS):
            branches += [Given(None, v, arg.span) for v in value]
        elif arg.name is None and i not in blocks and type_of(value) == "block":
            branches.append(arg)
        else:
            rest.append(arg)
    return branches, rest


def _merge(ev: Evaluator, use: p.JoinUse, branches: Sequence[Given], span: Span) -> Value:
    if not branches:
        return use
    return p.Merge(use, tuple([ev.block(b.value, b.span) for b in branches]), span)


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


# --- rules


def mention(ev: Evaluator, at: RuleAt, given: Sequence[Given], span: Span) -> p.Term:
    """A rule at a level with its arguments, as a block."""
    decl, level, name, context = at.decl, at.level, at.decl.name.id, at.context
    inside = context is not None and context.decl is decl
    args = bind(ev, name, decl.params, given, span, context.args if context and inside else None)
    if args is None:
        return p.Hole(span)
    if isinstance(level, Unknown):
        if inside and level.offset is not None and level.offset >= 0:
            _does_not_fall(ev, name, span)
        return p.Hole(span)
    if context and isinstance(context.level, Unknown):
        return p.Hole(span)
    if any(isinstance(v, Unknown) for v in args.values()):
        return p.Hole(span)
    instance = _instance(ev, decl, level, args, at.span)
    return p.Hole(span) if instance is None else p.Mention(instance, inside, span)


def _does_not_fall(ev: Evaluator, name: str, span: Span) -> None:
    help = f"a rule reads `{name}[n+1] = … {name}[n] …`: what it mentions must be of a lower level"
    ev.error("E0404", span, f"the level of `{name}` does not fall here, so the rule would never end", help=help)


def _instance(
    ev: Evaluator, decl: s.RuleDecl, level: int, args: dict[str, Value], span: Span
) -> p.Instance | None:
    name = decl.name.id
    if level > MAX_LEVEL:
        help = "a plain chain is written `block ** n`"
        ev.error("E0602", span, f"level {level:,} of `{name}` is over the limit of {MAX_LEVEL}", help=help)
        return None
    if any(d is decl and at is not None and at <= level for d, at in ev.active):
        _does_not_fall(ev, name, span)
        return None
    identity = (id(decl), level, tuple([(k, key(v)) for k, v in args.items()]))
    if identity not in ev.remembered:
        ev.remembered[identity] = (None, args)
        with ev.within(f"{name}[{level}]"):
            ev.active.append((decl, level))
            ev.remembered[identity] = (_expand(ev, decl, level, args, span), args)
            ev.active.pop()
    return ev.remembered[identity][0]


def _expand(ev: Evaluator, decl: s.RuleDecl, level: int, args: dict[str, Value], span: Span) -> p.Instance | None:
    from fractal_dsl.syntax_to_program.evaluate import Scope

    context = RuleContext(decl, args, level)
    fixed_first = sorted(decl.cases, key=lambda c: c.var is not None)
    for case in fixed_first:
        n = level - case.offset
        if (case.var is None and n != 0) or n < 0:
            continue
        names = {**args, case.var.id: n} if case.var is not None else args
        scope = Scope(names, None, context)
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
            use = as_join(ev, ev.eval(decl.join, Scope(args)), decl.join.span)
            if use is None:
                return None
        return p.Instance(decl.name.id, level, use, body)
    name = decl.name.id
    if has_base(decl):
        known = ", ".join(f"{name}[{c.var.id if c.var else ''}{_offset(c)}]" for c in decl.cases)
        ev.error("E0403", span, f"no case of `{name}` matches level {level}", help=f"its cases are {known}")
    return None


def _offset(case: s.Case) -> str:
    if case.var is None:
        return str(case.offset)
    return f"+{case.offset}" if case.offset else ""


def has_base(decl: s.RuleDecl) -> bool:
    """Whether some case ends the recursion: a fixed level, a guard, or a body that mentions no rule itself."""
    return any(c.var is None or c.guard is not None or not _mentions(c.body, decl.name.id) for c in decl.cases)


def _mentions(node: object, name: str) -> bool:
    if isinstance(node, s.Name):
        return node.id == name
    if isinstance(node, tuple):
        return any([_mentions(x, name) for x in node])
    fields = getattr(node, "__dataclass_fields__", ())
    return any([_mentions(getattr(node, f), name) for f in fields if f != "span"])


# --- built-in functions


def _list(ev: Evaluator, arg: Given) -> tuple[Value, ...] | Unknown:
    if isinstance(arg.value, tuple):
        return arg.value
    if isinstance(arg.value, Unknown) and arg.value.type.name in ("any", "list"):
        return arg.value
    return ev.error("E0301", arg.span, f"expected a list, found {type_of(arg.value)}")


def _positional(ev: Evaluator, name: str, given: Sequence[Given], span: Span, counts: Sequence[int]) -> bool:
    if any(a.name is not None for a in given) or (counts and len(given) not in counts):
        wanted = " or ".join(map(str, counts)) if counts else "only"
        ev.error("E0206", span, f"`{name}` takes {wanted} unnamed argument{'' if counts == (1,) else 's'}")
        return False
    return True


def _zip(ev: Evaluator, given: Sequence[Given], span: Span) -> Value:
    if not given or not _positional(ev, "zip", given, span, ()):
        return ANY if given else ()
    lists = [_list(ev, a) for a in given]
    known = [v for v in lists if isinstance(v, tuple)]
    if len({len(v) for v in known}) > 1:
        lengths = " and ".join(str(len(v)) for v in known)
        return ev.error("E0306", span, f"`zip` needs lists of one length, found {lengths}")
    return tuple(zip(*known, strict=True)) if len(known) == len(lists) else Unknown(Type("list", Type("any")))


def _range(ev: Evaluator, given: Sequence[Given], span: Span) -> Value:
    if not _positional(ev, "range", given, span, (1, 2, 3)):
        return ANY
    for arg in given:
        if fits(arg.value, Type("int")) is None:
            return ev.error("E0301", arg.span, f"`range` counts whole numbers, found {type_of(arg.value)}")
    if any(isinstance(a.value, Unknown) for a in given):
        return Unknown(Type("list", Type("int")))
    if len(given) == 3 and given[2].value == 0:
        return ev.error("E0305", given[2].span, "the step of `range` is not 0")
    numbers = range(*[a.value for a in given])
    if len(numbers) > MAX_LIST:
        return ev.error("E0602", span, f"a list of {len(numbers):,}; the limit is {MAX_LIST:,}")
    return tuple(numbers)


def _one_list(name: str, result: Callable[[tuple[Value, ...]], Value], unknown: Type):
    def function(ev: Evaluator, given: Sequence[Given], span: Span) -> Value:
        if not _positional(ev, name, given, span, (1,)):
            return ANY
        value = _list(ev, given[0])
        return result(value) if isinstance(value, tuple) else Unknown(unknown)

    return function


def _seq(ev: Evaluator, given: Sequence[Given], span: Span) -> Value:
    if not _positional(ev, "seq", given, span, ()):
        return ANY
    items: list[p.Term] = []
    for arg in given:
        if isinstance(arg.value, tuple):
            items += [ev.block(v, arg.span) for v in arg.value]
        elif isinstance(arg.value, Unknown) and arg.value.type.name == "list":
            items.append(p.Hole(arg.span))
        else:
            items.append(ev.block(arg.value, arg.span))
    return p.Seq(tuple(items), span)


_ANY_LIST = Type("list", Type("any"))
_BUILTINS: dict[str, Callable[[Evaluator, Sequence[Given], Span], Value]] = {
    "seq": _seq,
    "zip": _zip,
    "range": _range,
    "len": _one_list("len", len, Type("int")),
    "enumerate": _one_list("enumerate", lambda v: tuple(enumerate(v)), _ANY_LIST),
    "reversed": _one_list("reversed", lambda v: v[::-1], _ANY_LIST),
}
