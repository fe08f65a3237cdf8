"""The signature of a Python function as the parameters of a declaration."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Sequence
from typing import Any, get_args, get_origin

from fractal_dsl.builder.errors import BuilderError
from fractal_dsl.builder.lift import Term, lift, prob
from fractal_dsl.builder.nodes import Parameter, Ref, declared_name
from fractal_dsl.builder.places import Place, caller, here, number_of
from fractal_dsl.builder.values import Block, Join, Symbol, Value
from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span

_TYPES: dict[Any, str] = {int: "int", float: "float", prob: "prob", bool: "bool", str: "str"}
_KINDS = "int, float, prob, bool, str, Block, Join or a list of one of these"


def type_of(annotation: Any, at: Span) -> s.TypeExpr:
    """The type of the language that a Python type stands for. Raises BuilderError for any other."""
    if annotation in _TYPES:
        return s.TypeExpr(_TYPES[annotation], at)
    if isinstance(annotation, type) and issubclass(annotation, Block):
        return s.TypeExpr("block", at)
    if isinstance(annotation, type) and issubclass(annotation, Join):
        return s.TypeExpr("join", at)
    if isinstance(origin := get_origin(annotation), type) and issubclass(origin, Sequence):
        return s.TypeExpr("list", at, item=type_of(get_args(annotation)[0], at))
    shown = annotation.__name__ if isinstance(annotation, type) else annotation
    raise BuilderError(f"a parameter has the type {_KINDS}, not {shown}", at)


class Signature:
    """The parameters of a function after its first ``skip``, of which the first ``own`` are the declaration itself.

    Raises BuilderError for what has no counterpart.
    """

    def __init__(self, function: Callable[..., Any], skip: int = 0, own: int = 0) -> None:
        self.own = own
        code = getattr(function, "__code__", None)
        if not isinstance(code, types.CodeType):
            raise BuilderError(f"a function is needed, not {function!r}")
        self.at = number_of(Place(code.co_filename, code.co_firstlineno, 1, code.co_firstlineno, 1))
        self.name = declared_name(function.__name__, self.at)
        self.doc = inspect.cleandoc(function.__doc__ or "")
        names = {**function.__globals__, **caller().f_locals}
        given = list(inspect.signature(function).parameters.values())
        self.first, rest = given[:skip], given[skip:]
        self.skipped = tuple([declared_name(p.name, self.at) for p in self.first])
        self.keys = [p.name for p in rest]
        self.parameters = tuple([self._parameter(p, names) for p in rest])

    def _parameter(self, p: inspect.Parameter, names: dict[str, Any]) -> s.Parameter:
        at, name = self.at, declared_name(p.name, self.at)
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            raise BuilderError(f"`{self.name}` has a parameter {p}: parameters of the language have one value each", at)
        annotation: Any = p.annotation
        if annotation is p.empty:
            raise BuilderError(f"parameter `{name}` of `{self.name}` needs a type: {_KINDS}", at)
        if isinstance(annotation, str):
            try:
                annotation = eval(annotation, names)
            except NameError as error:
                raise BuilderError(f"the type of parameter `{name}` of `{self.name}`: {error}", at) from None
        default = None if p.default is p.empty else lift(p.default)
        return s.Parameter(Ref(name, at, None), type_of(annotation, at), default, at)

    @property
    def names(self) -> list[str]:
        """The names that the declaration binds."""
        return [*self.skipped[self.own :], *[p.name.id for p in self.parameters]]

    def symbols(self) -> dict[str, Term]:
        """The arguments that the function is called with: a symbol for each parameter."""
        return dict(zip(self.keys, map(self._symbol, self.parameters), strict=True))

    def ref(self, name: str) -> Ref:
        """A mention of a name that the declaration binds."""
        return Ref(name, here(), Parameter(self, name))

    def _symbol(self, parameter: s.Parameter) -> Term:
        ref = self.ref(parameter.name.id)
        kinds: dict[str, Callable[[s.Expr], Term]] = {"block": Block, "join": Join, "list": Symbol}
        return kinds.get(parameter.type.name, Value)(ref)
