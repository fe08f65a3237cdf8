"""Check one argument of a built-in: type, number of axes, choices, bounds."""

from __future__ import annotations

from fractal_dsl.base.errors import suggesting
from fractal_dsl.ops import LAYERS, OpParam
from fractal_dsl.program.syntax_to_program.aliases import OMITTED
from fractal_dsl.program.syntax_to_program.arguments import Argument, flow_help
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.fitting import fits
from fractal_dsl.program.syntax_to_program.typed import not_a_probability, type_help
from fractal_dsl.program.syntax_to_program.types import ANY, Type, Unknown
from fractal_dsl.program.syntax_to_program.values import Prob, Value, has_unknown, is_list, show, type_of

_EACH = {
    **dict.fromkeys(("size", "padding", "scale"), "one for each axis"),
    "sides": "two for each axis",
    "numbers": "several",
}
"""The contents of a list of several numbers, by the kind of the parameter."""


def op_value(context: Context, name: str, param: OpParam, arg: Argument) -> Value:
    """The argument for a parameter of the built-in ``name``; Unknown after an error, or if it is unknown."""
    value = arg.value
    if param.kind == "padding" and value in ("same", "valid"):
        return value
    if is_list(value) and has_unknown(value):
        return ANY
    held, wanted = _held(param, value)
    if held is None:
        help = _elsewhere(context, name, param, arg) or type_help(value, "int" if param.kind in _EACH else param.kind)
        message = f"`{param.name}` of `{name}` must be {wanted}, found {type_of(value)}"
        return context.error("E0301", arg.span, message, help=help)
    if isinstance(held, Unknown):
        return held
    wrong = _wrong_length(context, name, param, arg, held) or _out_of_domain(context, name, param, arg, held)
    return wrong or (float(held) if isinstance(held, Prob) else held)


def _held(param: OpParam, value: Value) -> tuple[Value | None, str]:
    """The value converted for a parameter, or None; and a description of what the parameter accepts."""
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


def _wrong_length(context: Context, name: str, param: OpParam, arg: Argument, held: Value) -> Unknown | None:
    """Report a list with the wrong number of elements."""
    axes = LAYERS[name].rank if name in LAYERS else None
    if axes is None or not is_list(held):
        return None
    count = axes * (1 + (param.kind == "sides"))
    if len(held) == count:
        return None
    wanted = f"a whole number, or a list of {count}, {_EACH[param.kind]}"
    message = f"`{param.name}` of `{name}` must be {wanted}, found a list of {len(held)}"
    return context.error("E0302", arg.span, message, help=_sizes_help(held, count, param.kind))


def _out_of_domain(context: Context, name: str, param: OpParam, arg: Argument, held: Value) -> Unknown | None:
    """Report a value that is not a choice, or a number out of bounds."""
    subject, span = f"`{param.name}` of `{name}`", arg.span
    numbers: tuple[Value, ...] = held if is_list(held) else (held,)
    if param.choices and held not in param.choices:
        help = suggesting(str(held), param.choices, f"choose one of {', '.join(map(show, param.choices))}")
        return context.error("E0302", span, f"{subject} cannot be {show(held)}", help=help)
    if param.kind == "prob" and not 0 <= numbers[0] <= 1:
        width = name == "attention" and arg.name is None and type_of(arg.value) == "int"
        return not_a_probability(context, numbers[0], span, _inferred(context, name, arg) if width else None)
    if bound := param.exceeded(numbers):
        inferred = param.name == "eps" and arg.name is None and type_of(arg.value) == "int"
        help = f"leave {show(arg.value)} out: channels and features are inferred" if inferred else None
        return context.error("E0302", span, f"{subject} must be {bound}, found {show(arg.value)}", help=help)
    return None


def _sizes_help(sizes: tuple[int, ...], count: int, kind: str) -> str | None:
    """Help for a list of sizes with the wrong length."""
    if kind == "sides" and 2 * len(sizes) == count:  # one for each axis, first axis first
        both = [n for size in reversed(sizes) for n in (size, size)]
        return f"write two for each axis, last axis first: `{show(tuple(both))}`"
    if kind == "sides":
        return "write two for each axis, last axis first: left, right, top, bottom, front, back"
    return f"write `{sizes[0]}`" if len({*sizes}) == 1 else None


def _elsewhere(context: Context, name: str, param: OpParam, arg: Argument) -> str | None:
    """Help for an argument of the wrong type that is right in another library."""
    value = arg.value
    if param.kind == "padding" and isinstance(value, str) and value.lower() in ("same", "valid"):
        return f'did you mean `"{value.lower()}"`?'
    if name == "layernorm" and param.name == "eps" and is_list(value):
        return OMITTED[name]["normalized_shape"]
    if name == "linear" and param.kind == "bool" and arg.name is None and type_of(value) == "int":
        return _inferred(context, name, arg)
    return flow_help(context, name, True, arg)


def _inferred(context: Context, name: str, arg: Argument) -> str:
    return f"leave the input features out: `{name}({context.written(arg.span)})`"
