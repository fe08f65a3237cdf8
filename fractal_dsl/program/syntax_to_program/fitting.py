"""Values and types: whether a value has a type, and which type a value has."""

from __future__ import annotations

from fractal_dsl.program.syntax_to_program.types import ANY, NAMED_TYPES, Type, Unknown
from fractal_dsl.program.syntax_to_program.values import BLOCKS, Prob, Value, is_list, type_of

_WIDER = {"float": ("int", "prob"), "prob": ("float", "int")}
"""The other types that convert to a type."""


def fits(value: Value, type: Type) -> Value | None:
    """Convert a value to a type (an int to a float, for example), or None.

    Blocks and joins are checked by kind only. The caller checks the range of a probability.
    """
    match type.name, value:
        case _, Unknown():
            return value if value.type.name in ("any", type.name, *_WIDER.get(type.name, ())) else None
        case "list", _ if is_list(value):
            assert type.item is not None
            items = [fits(v, type.item) for v in value]
            return None if any(v is None for v in items) else tuple(items)
        case "bool", bool():
            return value
        case (("int" | "float" | "prob"), bool()):
            return None
        case "int", int():
            return value
        case "float", int() | float():
            return float(value)
        case "prob", int() | float():
            return Prob(value)
        case "str", str():
            return value
        case "block", _ if isinstance(value, BLOCKS) and type_of(value) == "block":
            return value
        case "join", _ if type_of(value) == "join":
            return value
        case _:
            return None


def type_as(value: Value) -> Type:
    """The type of a value as a declaration names it, or any."""
    if isinstance(value, Unknown):
        return value.type
    if is_list(value):
        return Type("list", item_type(value))
    name = type_of(value)
    return Type(name) if name in NAMED_TYPES else ANY.type


def item_type(values: tuple[Value, ...]) -> Type:
    """The type of the elements of a list; any if they have several, such as ``int`` and ``float``."""
    filled = [v for v in values if v != ()]
    return type_as(filled[0]) if len({type_of(v) for v in filled}) == 1 else ANY.type


def odd_one(values: tuple[Value, ...]) -> int | None:
    """The index of the first value that cannot share a list with the first one. Numbers of any type can, and values of
    one type."""
    names = [type_of(v) for v in values]
    kinds = {name: _kind(name) for name in dict.fromkeys(names)}
    if len(kinds) < 2:
        return None
    first, open_ = kinds[names[0]], ("any", "list", "")
    return next(
        (
            i
            for i, kind in enumerate(kinds[name] for name in names)
            if kind != first and kind[1] not in open_ and first[1] not in open_
        ),
        None,
    )


def _kind(name: str) -> tuple[int, str]:
    """The depth of nested lists, and the values in the innermost ones."""
    item = name.strip("[]")
    return name.count("["), "number" if item in ("int", "float", "prob") else item
