"""Layers, joins and rules as Python functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Generic, NoReturn, overload

from msgspec import Struct

from fractal_dsl.builder.declaration import Declaration, body_of
from fractal_dsl.builder.errors import BuilderError
from fractal_dsl.builder.lift import Term, lift
from fractal_dsl.builder.nodes import LOCAL, Parameter, Ref
from fractal_dsl.builder.places import here
from fractal_dsl.builder.signature import Signature
from fractal_dsl.builder.tensors import with_values
from fractal_dsl.builder.values import At, Block, Join, Layer, P, Value
from fractal_dsl.language import syntax as s


def layer(function: Callable[P, Block]) -> Layer[P]:
    """A block with parameters. The function takes symbols for its parameters and returns the block; its docstring is
    the doc comment.

    >>> from fractal_dsl.builder import batchnorm2d, conv2d, relu
    >>> @layer
    ... def conv(out: int, kernel: int = 3):
    ...     return conv2d(out, kernel, padding=kernel // 2) >> batchnorm2d >> relu
    >>> conv(64) >> conv(64, kernel=1)
    conv(64) >> conv(64, kernel=1)
    """
    return Layer[P](_declared(function, Block, "a block").ref())


class DeclaredJoin(Join, Generic[P]):
    """A join of the program: called with its arguments a join, called with blocks a block."""

    @overload
    def __call__(self, first: Block, /, *branches: Block) -> Block: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Join: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        signature = self.node.of.signature if isinstance(self.node, Ref) else None
        takes_blocks = signature is not None and any(p.type.name == "block" for p in signature.parameters)
        return Join(made.node) if takes_blocks else made


def join(function: Callable[P, Join]) -> DeclaredJoin[P]:
    """A join with processing after it.

    >>> from fractal_dsl.builder import concat, conv2d, id
    >>> @join
    ... def squash(out: int):
    ...     return concat >> conv2d(out, 1)
    >>> squash(8)(id, conv2d(8, 1))
    squash(8)(id, conv2d(8, 1))
    """
    return DeclaredJoin[P](_declared(function, Join, "a join").ref())


def _declared(function: Callable[..., Any], kind: type[Any], what: str) -> Declaration:
    signature = Signature(function)

    def make() -> s.LayerDecl:
        body = body_of(signature, function(**signature.symbols()), kind, what)
        body = with_values(body, declaration) if kind is Block else body
        name = s.Name(signature.name, signature.at)
        return s.LayerDecl(name, signature.parameters, body, kind is Join, signature.at, signature.doc)

    declaration = Declaration((signature.name,), signature.at, make, signature)
    return declaration


class Rule(Term, Generic[P]):
    """A family of blocks, one for each level: ``F[3](64)``."""

    def __getitem__(self, level: int) -> At[P]:
        return At[P](s.Index(self.node, lift(level), here()))

    def __call__(self, *args: object, **named: object) -> NoReturn:
        """A rule without a level is no block. Raises BuilderError."""
        raise BuilderError(f"the rule `{self!r}` needs a level, such as {self!r}[3](…)", here())


class When(Struct, frozen=True):
    """The guard of a case."""

    condition: s.Expr


def when(condition: bool) -> When:
    """The guard of a case: ``F[n, when(n % 2 == 0)] = …``."""
    return When(lift(condition))


class Cases:
    """A rule in its own body: ``F[n]`` is the rule at a level, and ``F[n + 1] = block`` is a case.

    A join that depends on parameters of the rule is set: ``F.join = squash(out)``.
    """

    def __init__(self, rule: Declaration, signature: Signature, join: Join | None) -> None:
        self._rule, self._signature = rule, signature
        self.cases: list[s.Case] = []
        self.join = join

    def __getitem__(self, level: int) -> At[...]:
        return At[...](s.Index(self._rule.ref(), lift(level), here()))

    def __setitem__(self, key: int | tuple[int, When], body: Block) -> None:
        level, guard = key if isinstance(key, tuple) else (key, None)
        at, name = here(), self._signature.name
        if not isinstance(body, Block):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BuilderError(f"a case of `{name}` is a block, not {body!r}", at)
        var, offset = self._head(lift(level))
        condition = guard.condition if guard else None
        tree = with_values(body.node, (self._rule, len(self.cases)))
        self.cases.append(s.Case(self._rule.ref(), var, offset, condition, tree, at, at))

    def _head(self, level: s.Expr) -> tuple[s.Name | None, int]:
        match level:
            case s.Literal(value=int(offset)):
                return None, offset
            case Ref(of=Parameter(owner=self._signature, name=name)) if name == self._signature.skipped[1]:
                return Ref(name, level.span, LOCAL), 0
            case s.Binary(op="+", left=Ref() as left, right=s.Literal(value=int(offset))):
                var, zero = self._head(left)
                if var is not None and zero == 0:
                    return var, offset
            case _:
                pass
        n = self._signature.skipped[1]
        raise BuilderError(f"the head of a case is a level, `{n}` or `{n} + 1`, not `{Value(level)!r}`", here())


_Function = Callable[Concatenate[Any, Any, P], None]


@overload
def rule(function: _Function[P], /) -> Rule[P]: ...
@overload
def rule(*, join: Join | None = None) -> Callable[[_Function[P]], Rule[P]]: ...
def rule(function: Any = None, /, *, join: Join | None = None) -> Any:
    """A recurrence. The function takes the rule itself, the level, and the parameters, and assigns the cases.

    >>> from fractal_dsl.builder import linear, mean
    >>> @rule(join=mean)
    ... def F(F, n, width: int):
    ...     F[1] = linear(width)
    ...     F[n + 1] = F[n] >> F[n] | linear(width)
    >>> F[3](64)
    F[3](64)
    """

    def decorated(function: Callable[..., None]) -> Rule[...]:
        return _rule(function, join)

    return decorated if function is None else decorated(function)


def _rule(function: Callable[..., None], join: Join | None) -> Rule[...]:
    signature = Signature(function, skip=2, own=1)
    if len(signature.skipped) < 2:
        message = f"a rule takes itself and its level first: `def {signature.name}(F, n, …)`"
        raise BuilderError(message, signature.at)

    def make() -> s.RuleDecl:
        cases = Cases(declaration, signature, join)
        level = Value(signature.ref(signature.skipped[1]))
        function(cases, level, **signature.symbols())
        name = s.Name(signature.name, signature.at)
        close = cases.join.node if cases.join is not None else None
        return s.RuleDecl(name, signature.parameters, close, tuple(cases.cases), signature.at, signature.doc)

    declaration = Declaration((signature.name,), signature.at, make, signature)
    return Rule[...](declaration.ref())
