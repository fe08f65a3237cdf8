"""What expressions evaluate to, and the types that values are checked against.

A value is an int, float, Prob, bool, str, tuple (a list), a term of ``program`` (a block), a JoinUse, one
of the callables below, or Unknown. Unknown stands for a value that is not known: a parameter, while a
declaration is checked by itself, or the result of something that is reported already.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard, cast

from msgspec import Struct

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.ops import JoinSpec, OpSpec
from fractal_dsl.program import program as p

MAX_INT = 2**63 - 1
MAX_LIST = 10_000
MAX_ELEMENTS = 100_000  # of a list with the lists in it
MAX_LEVEL = 256
MAX_DEPTH = 40  # of lists in lists
MAX_STEPS = 150_000  # an expression is a step, and so is an element of a list that is made, compared or handed on


class OutOfSteps(Exception):
    """Evaluation takes longer than MAX_STEPS, which is reported already."""


class Prob(float):
    """A probability, written ``15%``."""


class Type(Struct, frozen=True):
    """``int``, ``float``, ``prob``, ``bool``, ``str``, ``block``, ``join``, or a list of ``item``."""

    name: str
    item: Type | None = None

    def __str__(self) -> str:
        return f"[{self.item}]" if self.item else self.name


SCALARS = ("int", "float", "prob", "bool", "str", "block", "join")


class Unknown(Struct, frozen=True):
    """A value of a known type (``any``: of no known type). ``offset`` relates a level to the rule's own."""

    type: Type
    offset: int | None = None


ANY = Unknown(Type("any"))


class LayerFn(Struct, frozen=True):
    """A user's layer or join, not yet called; ``home`` is its file."""

    decl: s.LayerDecl
    home: Any


class OpFn(Struct, frozen=True):
    """A built-in layer, not yet called."""

    spec: OpSpec


class JoinFn(Struct, frozen=True):
    """A built-in join, not yet called."""

    spec: JoinSpec


class TorchNn(Struct, frozen=True):
    """``nn``, whose attributes are the modules of torch.nn."""


class TorchFn(Struct, frozen=True):
    """A module of torch.nn by its name there, not yet called."""

    name: str


class ExternFn(Struct, frozen=True):
    """A Python class that is declared as a layer or join, not yet called; ``home`` is the file."""

    decl: s.Extern
    home: Any


class RuleFn(Struct, frozen=True):
    """A rule without its level; ``home`` is its file."""

    decl: s.RuleDecl
    home: Any


class RuleContext(Struct, frozen=True, eq=False):
    """The rule whose body is being read, with the arguments that inner mentions inherit."""

    decl: s.RuleDecl
    home: Any
    args: Mapping[str, Value]
    level: int | Unknown


class RuleAt(Struct, frozen=True, eq=False):
    """A rule at a level, its arguments not yet given: ``F[3]``; ``context`` is the rule it stands in."""

    decl: s.RuleDecl
    home: Any
    level: int | Unknown
    span: Span
    context: RuleContext | None


class ModuleValue(Struct, frozen=True, eq=False):
    """An imported file, by the name that it has here."""

    module: Any


class Builtin(Struct, frozen=True):
    """``seq``, ``zip``, ``range``, ``len``, ``enumerate`` or ``reversed``."""

    name: str


class EachFn(Struct, frozen=True):
    """``F[3].each``, not yet called."""

    target: p.Term


BUILTINS = ("seq", "zip", "range", "len", "enumerate", "reversed")

Value = Any
"""The union in the module's docstring; it is recursive through lists and checked by ``match``."""

TERMS = (p.Op, p.Seq, p.Bundle, p.Mention, p.Each, p.Merge, p.Group, p.Tagged, p.Hole)
BLOCKS = (*TERMS, LayerFn, OpFn, RuleAt, TorchFn, ExternFn)


def is_list(value: Value) -> TypeGuard[tuple[Value, ...]]:
    """Whether a value is a list."""
    return isinstance(value, tuple)


_SCALARS: dict[type[object], str] = {bool: "bool", Prob: "prob", int: "int", float: "float", str: "str"}


def type_of(value: Value) -> str:
    """How messages name a value's type."""
    kind = cast(type[object], type(value))
    if kind in _SCALARS:
        return _SCALARS[kind]
    match value:
        case Unknown():
            return str(value.type)
        case _ if is_list(value):
            return f"[{type_of(value[0])}]" if value else "[]"
        case LayerFn() | ExternFn() if value.decl.is_join:
            return "join"
        case JoinFn() | p.JoinUse():
            return "join"
        case RuleFn():
            return "rule"
        case ModuleValue() | TorchNn():
            return "file"
        case Builtin() | EachFn():
            return "function"
        case _:
            return "block"


def item_type(values: tuple[Value, ...]) -> Type:
    """The type of a list's elements: any where they are of several, such as ``int`` and ``float``."""
    filled = [v for v in values if v != ()]
    return type_as(filled[0]) if len({type_of(v) for v in filled}) == 1 else ANY.type


def type_as(value: Value) -> Type:
    """A value's type as a declaration names it; any where it cannot."""
    if isinstance(value, Unknown):
        return value.type
    if is_list(value):
        return Type("list", item_type(value))
    name = type_of(value)
    return Type(name) if name in SCALARS else ANY.type


def show(value: Value) -> str:
    """A value as the language writes it."""
    match value:
        case bool():
            return "true" if value else "false"
        case Prob():
            return f"{100 * value:.10g}%"
        case str():
            return f'"{value}"'
        case _ if is_list(value):
            return f"[{', '.join(map(show, value))}]"
        case int() | float():
            return repr(value)
        case _:
            return f"a {type_of(value)}"


def fits(value: Value, type: Type) -> Value | None:
    """The value as the type holds it (an int becomes a float where one is asked for), or None.

    Blocks and joins are told by kind only; a probability's range is the caller's to check.
    """
    match type.name, value:
        case _, Unknown():
            known = value.type.name
            wider = {"float": ("int", "prob"), "prob": ("float", "int")}.get(type.name, ())
            return value if known in ("any", type.name, *wider) else None
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


def is_literal(value: Value) -> bool:
    """Whether a value is a number, text, boolean, or a list of such, and known."""
    return all(map(is_literal, value)) if is_list(value) else isinstance(value, int | float | str)


def literal(value: Value) -> Value:
    """A literal as Python has it: a probability is a float."""
    return tuple(map(literal, value)) if is_list(value) else float(value) if isinstance(value, Prob) else value


def odd_one(values: tuple[Value, ...]) -> int | None:
    """The place of the first value that cannot stand in a list with the first one: numbers of any kind can, and
    values of one type."""
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
    """How deep lists stand in lists, and what the innermost hold."""
    item = name.strip("[]")
    return name.count("["), "number" if item in ("int", "float", "prob") else item


def has_unknown(value: Value) -> bool:
    """Whether a value, or an element of it, is not known."""
    return any(map(has_unknown, value)) if is_list(value) else isinstance(value, Unknown)


def key(value: Value) -> object:
    """A hashable identity of a value, for remembering instances; blocks count by identity."""
    if is_list(value):
        return tuple([key(v) for v in value])
    if isinstance(value, (*TERMS, p.JoinUse, RuleAt)):
        return id(value)
    if isinstance(value, LayerFn | RuleFn | ExternFn):
        return (id(value.decl), id(value.home))
    return (type(value).__name__, value)
