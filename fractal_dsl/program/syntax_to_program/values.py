"""What expressions evaluate to.

A value is an int, float, Prob, bool, str, tuple (a list), a term of ``program`` (a block), a JoinUse, one of the
callables below, or Unknown. Unknown is a parameter while a declaration is checked alone, or the result of an expression
with a reported error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeGuard, cast

from msgspec import Struct

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.ops import JoinSpec, OpSpec
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.types import Unknown

Value = Any
"""The union in the module's docstring. It is recursive through lists and checked by ``match``."""


class Prob(float):
    """A probability, written ``15%``."""


class Declarations(Protocol):
    """The declarations of a file: where names that are not local are looked up."""

    def resolve(self, name: str, span: Span) -> Value | None:
        """The value of a declared name; None if there is no such name."""
        ...

    def names(self) -> list[str]:
        """All declared names that expressions can use."""
        ...

    def qualified(self, name: str) -> str | None:
        """A name of an imported file as written here; None if no import has it."""
        ...

    def title(self) -> str:
        """The file's name in messages."""
        ...


class OpFn(Struct, frozen=True):
    """A built-in layer, not yet called."""

    spec: OpSpec


class JoinFn(Struct, frozen=True):
    """A built-in join, not yet called."""

    spec: JoinSpec


class LayerFn(Struct, frozen=True):
    """A user's layer or join, not yet called."""

    decl: s.LayerDecl
    module: Declarations


class ExternFn(Struct, frozen=True):
    """A Python class declared as a layer or join, not yet called."""

    decl: s.Extern
    module: Declarations


class TorchNn(Struct, frozen=True):
    """``nn``, whose attributes are the modules of torch.nn."""


class TorchFn(Struct, frozen=True):
    """A module of torch.nn by its name there, not yet called."""

    name: str


class RuleFn(Struct, frozen=True):
    """A rule without its level."""

    decl: s.RuleDecl
    module: Declarations


class EnclosingRule(Struct, frozen=True, eq=False):
    """The rule whose body is being evaluated, with the arguments that inner calls inherit."""

    decl: s.RuleDecl
    module: Declarations
    args: Mapping[str, Value]
    level: int | Unknown


class RuleAt(Struct, frozen=True, eq=False):
    """A rule at a level without arguments: ``F[3]``. ``enclosing`` is the enclosing rule."""

    decl: s.RuleDecl
    module: Declarations
    level: int | Unknown
    span: Span
    enclosing: EnclosingRule | None


class ModuleValue(Struct, frozen=True, eq=False):
    """An imported file, by its name here."""

    module: Declarations


class Builtin(Struct, frozen=True):
    """``seq``, ``zip``, ``range``, ``len``, ``enumerate`` or ``reversed``."""

    name: str


class EachFn(Struct, frozen=True):
    """``F[3].each``, not yet called."""

    target: p.Term


class Bound(Struct, frozen=True):
    """A name that ``where`` binds, or the name of an ``input``. Each mention is a ``ValueUse``."""

    key: int
    input: bool = False


class Unbound(Struct, frozen=True):
    """A name that ``where`` binds further on. ``path`` leads from it back to the present value, if it needs that."""

    path: tuple[str, ...]


class Dropped(Struct, frozen=True, eq=False):
    """``block @drop(10%)``: a branch of an inline join, which training leaves out with probability ``drop``, for a
    whole mini-batch or ``by_example``.

    It is no block: it stands nowhere else."""

    block: p.Term
    drop: float
    by_example: bool
    span: Span


BUILTINS = ("seq", "zip", "range", "len", "enumerate", "reversed", "split", "unembed")
TERMS = (
    p.Op,
    p.Seq,
    p.Bundle,
    p.Mention,
    p.Each,
    p.Merge,
    p.NamedBlock,
    p.Tagged,
    p.ValueUse,
    p.Where,
    p.Outputs,
    p.Hole,
)
BLOCKS = (*TERMS, LayerFn, OpFn, RuleAt, TorchFn, ExternFn, Dropped)


def is_list(value: Value) -> TypeGuard[tuple[Value, ...]]:
    """Whether a value is a list."""
    return isinstance(value, tuple)


_PLAIN: dict[type[object], str] = {bool: "bool", Prob: "prob", int: "int", float: "float", str: "str"}


def type_of(value: Value) -> str:
    """The name of a value's type in messages."""
    kind = cast(type[object], type(value))
    if kind in _PLAIN:
        return _PLAIN[kind]
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


def with_article(value: Value) -> str:
    """A value's type with its article."""
    kind = type_of(value)
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


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


def is_literal(value: Value) -> bool:
    """Whether a value is a number, string, boolean, or a list of these, and known."""
    return all(map(is_literal, value)) if is_list(value) else isinstance(value, int | float | str)


def to_python(value: Value) -> Value:
    """A literal as a Python value: a probability becomes a float."""
    return tuple(map(to_python, value)) if is_list(value) else float(value) if isinstance(value, Prob) else value


def has_unknown(value: Value) -> bool:
    """Whether a value, or an element of it, is unknown."""
    return any(map(has_unknown, value)) if is_list(value) else isinstance(value, Unknown)


def identity(value: Value) -> object:
    """A hashable key of a value, for the memo. Blocks are compared by identity."""
    if is_list(value):
        return tuple([identity(v) for v in value])
    if isinstance(value, (*TERMS, p.JoinUse, RuleAt)):
        return id(value)
    if isinstance(value, LayerFn | RuleFn | ExternFn):
        return (id(value.decl), id(value.module))
    return (type(value).__name__, value)
