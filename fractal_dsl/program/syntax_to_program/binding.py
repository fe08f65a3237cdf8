"""Arguments to parameters: matched by place and name, checked against types and bounds, defaults filled in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from fractal_dsl.base.errors import suggestion
from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.ops import LAYERS, REQUIRED, OpParam
from fractal_dsl.ops import Value as OpValue
from fractal_dsl.program.syntax_to_program.aliases import ALIASES, NEEDLESS, NO_FUNCTIONS, OMITTED, WHOLE
from fractal_dsl.program.syntax_to_program.scope import Home, Scope
from fractal_dsl.program.syntax_to_program.values import (
    ANY,
    SCALARS,
    Prob,
    Type,
    Unknown,
    Value,
    fits,
    has_unknown,
    is_list,
    show,
    type_of,
)

if TYPE_CHECKING:
    from fractal_dsl.program.syntax_to_program.evaluate import Evaluator


class Given(Struct, frozen=True):
    """An evaluated argument."""

    name: str | None
    value: Value
    span: Span
    expr: s.Expr | None = None


def written(ev: Evaluator, span: Span) -> str:
    """An expression as the file has it, on one line."""
    return " ".join(ev.report.sources.at(span).slice(span).split())


def kind_of(value: Value) -> str:
    """A value's type with its article."""
    kind = type_of(value)
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def bind_op(
    ev: Evaluator, name: str, params: Sequence[OpParam], given: Sequence[Given], span: Span
) -> dict[str, OpValue] | None:
    """Arguments of a built-in, complete and in order; None after an error."""
    chosen = _assign(ev, name, [q.name for q in params], given, [q.name for q in params if not q.keyword])
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
            ev.error("E0205", span, f"`{name}` needs `{param.name}`", help=f"it takes `{name}({signature(params)})`")
            return None
        else:
            args[param.name] = param.default
    return args if sound else None


def joins_numbers(ev: Evaluator, name: str, given: Sequence[Given], span: Span) -> bool:
    """Whether a join is called as a function of numbers; that is reported."""
    if not any(arg.name is None and _numeric(arg.value) for arg in given):
        return False
    ev.error("E0301", span, f"`{name}` joins the outputs of blocks, not numbers", help=NO_FUNCTIONS)
    return True


def _numeric(value: Value) -> bool:
    if is_list(value):
        return bool(value) and _numeric(value[0])
    kind = innermost(value.type).name if isinstance(value, Unknown) else type_of(value)
    return kind in ("int", "float", "prob")


def signature(params: Sequence[OpParam]) -> str:
    """A built-in's parameters as Python shows them: those behind ``*`` are given by name. ``…`` is a default that
    the layer finds itself."""
    parts: list[str] = []
    for q in params:
        if q.keyword and "*" not in parts:
            parts.append("*")
        parts.append(q.name if q.default is REQUIRED else f"{q.name}={'…' if q.default is None else show(q.default)}")
    return ", ".join(parts)


def _assign(
    ev: Evaluator, name: str, names: Sequence[str], given: Sequence[Given], positional: Sequence[str] | None = None
) -> dict[str, Given] | None:
    """Match arguments to parameter names; None after an error. Without ``positional`` all can go by place."""
    chosen: dict[str, Given] = {}
    by_place = names if positional is None else positional
    free = iter(by_place)
    sound = True
    for arg in given:
        target = arg.name if arg.name is not None else next(free, None)
        if target is None:
            named = [n for n in names if n not in by_place and n not in chosen]
            count = len(by_place)
            takes = f"`{name}` takes {count} argument{'s' * (count != 1)}" if names else f"`{name}` takes no arguments"
            takes += " by place" if named else ""
            help = _flow_help(ev, name, names, arg) or _type_help(arg.value, "")
            if named:
                help = help or f"name it: `{named[0]}={written(ev, arg.span)}`"
            help = help or (f"they are {', '.join(names)}" if names else None)
            if arg.value is not ANY:  # else it may be a branch of a join that is reported already
                ev.error("E0206", arg.span, f"{takes}; this is one too many", help=help)
            sound = False
        elif target not in names:
            help = _name_help(name, names, arg, target) or suggestion(target, names)
            help = help or (f"it has {', '.join(names)}" if names else "it takes no arguments")
            ev.error("E0203", arg.span, f"`{name}` has no parameter `{target}`", help=help)
            sound = False
        elif target in chosen:
            help = None
            if name in LAYERS and chosen[target].name is None:
                place = names.index(target) + 1
                help = f"argument {place} is `{target}` already: input channels and features are inferred"
            ev.error("E0204", arg.span, f"`{target}` of `{name}` is given twice", help=help)
            sound = False
        else:
            chosen[target] = arg
    return chosen if sound else None


def _name_help(name: str, names: Sequence[str], arg: Given, target: str) -> str | None:
    """Help with a parameter's name that comes from elsewhere."""
    if ALIASES.get(target) in names:
        return f"it is called `{ALIASES[target]}`"
    if name not in LAYERS:
        return None
    if target == "activation":
        block = arg.value if isinstance(arg.value, str) and arg.value in LAYERS else "relu"
        return f"activations are blocks: `{name}(…) >> {block}`"
    return f"leave it out: {NEEDLESS[target]}" if target in NEEDLESS else OMITTED.get(name, {}).get(target)


def _flow_help(ev: Evaluator, name: str, names: Sequence[str], arg: Given) -> str | None:
    """Help with a block as an argument of a layer, as if the layer were a function of its input."""
    if type_of(arg.value) == "block":
        return f"compose with `>>`: `{written(ev, arg.span)} >> {name}{'(…)' if names else ''}`"
    return None


_FLOWS_IN = "the input flows in by itself: leave it out"
_EACH = {
    **dict.fromkeys(("size", "padding", "scale"), "one for each axis"),
    "sides": "two for each axis",
}


def _op_value(ev: Evaluator, name: str, param: OpParam, arg: Given) -> Value:
    """One argument of a built-in, checked; Unknown if it is not known."""
    value, what = arg.value, f"`{param.name}` of `{name}`"
    if param.kind == "padding" and value in ("same", "valid"):
        return value
    if is_list(value) and has_unknown(value):
        return ANY
    checked, wanted = _fitted(param, value)
    if checked is None:
        help = _op_help(ev, name, param, arg) or _type_help(value, param.kind)
        return ev.error("E0301", arg.span, f"{what} is {wanted}, found {type_of(value)}", help=help)
    if isinstance(checked, Unknown):
        return checked
    numbers: tuple[Value, ...] = checked if is_list(checked) else (checked,)
    axes = LAYERS[name].rank if name in LAYERS else None
    if axes is not None and is_list(checked) and len(checked) != axes * (1 + (param.kind == "sides")):
        count = axes * (1 + (param.kind == "sides"))
        message = (
            f"{what} is a whole number, or a list of {count}, {_EACH[param.kind]}; this is a list of {len(checked)}"
        )
        return ev.error("E0302", arg.span, message, help=_sizes_help(checked, count, param.kind))
    if param.choices and checked not in param.choices:
        help = suggestion(str(checked), param.choices) or f"it is one of {', '.join(map(show, param.choices))}"
        return ev.error("E0302", arg.span, f"{what} cannot be {show(checked)}", help=help)
    if param.kind == "prob" and not 0 <= numbers[0] <= 1:
        width = name == "attention" and arg.name is None and type_of(value) == "int"
        return _not_prob(ev, numbers[0], arg.span, _inferred(ev, name, arg) if width else None)
    if param.kind == "scale" and any(v <= 0 for v in numbers):
        return ev.error("E0302", arg.span, f"{what} is above 0, found {show(checked)}")
    if param.low is not None and any(v < param.low for v in numbers):
        return ev.error("E0302", arg.span, f"{what} is at least {param.low:g}, found {show(checked)}")
    if param.high is not None and any(v >= param.high for v in numbers):
        help = f"channels and features are inferred: leave {show(value)} out" if arg.name is None else None
        return ev.error("E0302", arg.span, f"{what} is below {param.high:g}, found {show(value)}", help=help)
    return float(checked) if isinstance(checked, Prob) else checked


def _fitted(param: OpParam, value: Value) -> tuple[Value | None, str]:
    """A value as a parameter takes it, or None; and what it takes, in words."""
    each = _EACH.get(param.kind)
    if each is None:
        return fits(value, Type(param.kind)), param.kind
    if isinstance(value, Unknown):
        texts = ("str",) if param.kind == "padding" else ("float", "prob") if param.kind == "scale" else ()
        return value if value.type.name in ("any", "int", "list", *texts) else None, ""
    wanted = f"{'a number' if param.kind == 'scale' else 'a whole number'}, or a list of {each}"
    if param.kind == "padding":
        wanted = f'a whole number, a list of {each}, "same" or "valid"'
    numbers: tuple[Value, ...] = value if is_list(value) else (value,)
    types = ("int", "float") if param.kind == "scale" else ("int",)
    return value if all(type_of(v) in types for v in numbers) else None, wanted


def _sizes_help(sizes: tuple[int, ...], count: int, kind: str) -> str | None:
    """Help with a list of sizes of the wrong length."""
    if kind == "sides" and 2 * len(sizes) == count:  # one for each axis, the first axis first
        both = [n for size in reversed(sizes) for n in (size, size)]
        return f"two for each axis, the last axis first: `{show(tuple(both))}`"
    if kind == "sides":
        return "two for each axis, the last axis first: left and right, top and bottom, front and back"
    return f"write `{sizes[0]}`" if len({*sizes}) == 1 else None


def _op_help(ev: Evaluator, name: str, param: OpParam, arg: Given) -> str | None:
    """Help with a built-in's argument of the wrong type that is right elsewhere."""
    value = arg.value
    if param.kind == "padding" and isinstance(value, str) and value.lower() in ("same", "valid"):
        return f'did you mean `"{value.lower()}"`?'
    if name == "layernorm" and param.name == "eps" and is_list(value):
        return OMITTED[name]["normalized_shape"]
    if name == "linear" and param.kind == "bool" and arg.name is None and type_of(value) == "int":
        return _inferred(ev, name, arg)
    return _flow_help(ev, name, (param.name,), arg)


def _inferred(ev: Evaluator, name: str, arg: Given) -> str:
    return f"input features are inferred: `{name}({written(ev, arg.span)})`"


def _not_prob(ev: Evaluator, value: float, span: Span, otherwise: str | None = None) -> Unknown:
    help = "a probability lies between 0 and 1, or 0% and 100%"
    if value in range(2, 101):
        help = f"{otherwise}; as a probability it is `{value:g}%`" if otherwise else f"did you mean `{value:g}%`?"
    return ev.error("E0302", span, f"{float(value):g} is not a probability", help=help)


def _type_help(value: Value, wanted: str) -> str | None:
    if wanted == "int" and isinstance(value, float) and not isinstance(value, Prob):
        return f"write a whole number, such as {round(value)}; {WHOLE}"
    if wanted == "bool" and value in (0, 1):
        return "write `true` or `false`"
    if type_of(value) == "tensor":
        return _FLOWS_IN
    return None


def type_from(ev: Evaluator, expr: s.TypeExpr, known: Sequence[str] = SCALARS) -> Type:
    """A declared type. Tensors type nets only. Of an unknown one the help is one of ``known``."""
    if expr.item is not None:
        return Type("list", type_from(ev, expr.item, known))
    if expr.name not in SCALARS or expr.dims is not None:
        help = None
        if expr.name.lower() in ("list", "tuple"):
            item = written(ev, expr.dims[0].span) if expr.dims else "int"
            help = f"write `[{item if item in SCALARS else 'int'}]`"
        help = help or suggestion(expr.name, known) or f"the types are {', '.join([*known, '[int]'])}"
        ev.error("E0201", expr.span, f"unknown type `{expr.name}`", help=help)
        return Type("any")
    return Type(expr.name)


def checked(ev: Evaluator, value: Value, type: Type, span: Span, what: str, expr: s.Expr | None = None) -> Value:
    """A value of the declared type, or Unknown after an error, which stands at the element that is wrong where
    ``expr``, the value as it is written, has it."""
    if type.name == "any":
        return ANY
    result = fits(value, type)
    if result is None:
        wrong, wanted, span = _misfit(value, type, expr, span)
        found = f"found {type_of(value)}" if wrong is value else f"but its element {show(wrong)} is {type_of(wrong)}"
        return ev.error("E0301", span, f"{what} is {type}, {found}", help=_type_help(wrong, wanted.name))
    for element, at in elements(result, expr, span) if innermost(type).name == "prob" else ():
        if not isinstance(element, Unknown) and not 0 <= element <= 1:
            return _not_prob(ev, element, at)
    if type.name == "block":
        return ev.block(result, span)
    return result


def _misfit(value: Value, type: Type, expr: s.Expr | None, span: Span) -> tuple[Value, Type, Span]:
    """The part of a value that does not fit, its type as it should be, and its place."""
    if type.item is None or not is_list(value):
        return value, type, span
    i = next(i for i, v in enumerate(value) if fits(v, type.item) is None)
    inner = _item_at(expr, i, value)
    return _misfit(value[i], type.item, inner, inner.span if inner else span)


def elements(value: Value, expr: s.Expr | None, span: Span) -> Iterator[tuple[Value, Span]]:
    """The elements of a list, and of the lists in it, each where it is written; else the value itself."""
    if not is_list(value):
        yield value, span
        return
    for i, element in enumerate(value):
        inner = _item_at(expr, i, value)
        yield from elements(element, inner, inner.span if inner else span)


def _item_at(expr: s.Expr | None, i: int, value: tuple[Value, ...]) -> s.Expr | None:
    return expr.items[i] if isinstance(expr, s.Items) and len(expr.items) == len(value) else None


def innermost(type: Type) -> Type:
    """The type of the elements of a list, and of the lists in it; else the type itself."""
    return innermost(type.item) if type.item else type


def bind(
    ev: Evaluator,
    home: Home,
    name: str,
    params: Sequence[s.Parameter],
    given: Sequence[Given],
    span: Span,
    inherited: Mapping[str, Value] | None = None,
) -> dict[str, Value] | None:
    """Arguments of a user's layer, join or rule; None after an error. Defaults see earlier parameters."""
    chosen = _assign(ev, name, [q.name.id for q in params], given)
    if chosen is None:
        return None
    args: dict[str, Value] = {}
    for param in params:
        id = param.name.id
        if id in chosen:
            type = type_from(ev, param.type)
            args[id] = checked(ev, chosen[id].value, type, chosen[id].span, f"`{id}` of `{name}`", chosen[id].expr)
        elif inherited is not None:
            args[id] = inherited[id]
        elif param.default is None:
            shape = ", ".join(f"{q.name.id}: {_show_type(q.type)}" for q in params)
            ev.error("E0205", span, f"`{name}` needs `{id}`", help=f"it takes `{name}({shape})`")
            return None
        else:
            value = ev.eval(param.default, Scope(home, args))
            type, what = type_from(ev, param.type), f"`{id}` of `{name}`"
            args[id] = checked(ev, value, type, param.default.span, what, param.default)
    ev.spend(sum([ev.weight(v) for v in args.values()]), span)
    return args


def _show_type(type: s.TypeExpr) -> str:
    return f"[{_show_type(type.item)}]" if type.item else type.name
