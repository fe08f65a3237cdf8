"""What expressions stand for: numbers and lists (``Value``), blocks, joins, and layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Generic, NoReturn, ParamSpec, cast

from fractal_dsl.builder.errors import BuilderError
from fractal_dsl.builder.lift import Term, arguments, call, lift
from fractal_dsl.builder.loops import iterate
from fractal_dsl.builder.nodes import BUILT_IN, Ref
from fractal_dsl.builder.places import here
from fractal_dsl.language import syntax as s

P = ParamSpec("P")


def _infix(op: str, left: object, right: object) -> Value:
    return Value(s.Binary(op, lift(left), lift(right), here()))


class Value(Term):
    """A number, text, truth value or list that is known when a net is compiled: a parameter, or made from parameters.

    It has the operators of the language. ``&``, ``|`` and ``~`` are its ``and``, ``or`` and ``not``. Python's ``if``,
    ``range`` and ``len`` need numbers, so they raise BuilderError.
    """

    __hash__ = Term.__hash__

    def __add__(self, other: object) -> Value:
        return _infix("+", self, other)

    def __radd__(self, other: object) -> Value:
        return _infix("+", other, self)

    def __sub__(self, other: object) -> Value:
        return _infix("-", self, other)

    def __rsub__(self, other: object) -> Value:
        return _infix("-", other, self)

    def __mul__(self, other: object) -> Value:
        return _infix("*", self, other)

    def __rmul__(self, other: object) -> Value:
        return _infix("*", other, self)

    def __truediv__(self, other: object) -> Value:
        return _infix("/", self, other)

    def __rtruediv__(self, other: object) -> Value:
        return _infix("/", other, self)

    def __floordiv__(self, other: object) -> Value:
        return _infix("//", self, other)

    def __rfloordiv__(self, other: object) -> Value:
        return _infix("//", other, self)

    def __mod__(self, other: object) -> Value:
        return _infix("%", self, other)

    def __rmod__(self, other: object) -> Value:
        return _infix("%", other, self)

    def __pow__(self, other: object) -> Value:
        return _infix("**", self, other)

    def __rpow__(self, other: object) -> Value:
        return _infix("**", other, self)

    def __neg__(self) -> Value:
        return Value(s.Unary("-", self.node, here()))

    def __eq__(self, other: object) -> Value:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _infix("==", self, other)

    def __ne__(self, other: object) -> Value:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _infix("!=", self, other)

    def __lt__(self, other: object) -> Value:
        return _infix("<", self, other)

    def __le__(self, other: object) -> Value:
        return _infix("<=", self, other)

    def __gt__(self, other: object) -> Value:
        return _infix(">", self, other)

    def __ge__(self, other: object) -> Value:
        return _infix(">=", self, other)

    def __and__(self, other: object) -> Value:
        return _infix("and", self, other)

    def __rand__(self, other: object) -> Value:
        return _infix("and", other, self)

    def __or__(self, other: object) -> Value:
        return _infix("or", self, other)

    def __ror__(self, other: object) -> Value:
        return _infix("or", other, self)

    def __invert__(self) -> Value:
        return Value(s.Unary("not", self.node, here()))

    def __getitem__(self, index: object) -> Any:
        if isinstance(index, slice):
            raise BuilderError("the language has no slices: write `[widths[i] for i in range(…)]`")
        return Symbol(s.Index(self.node, lift(index), here()))

    def __iter__(self) -> Iterator[Any]:
        return iterate(self.node, Symbol)

    def __reversed__(self) -> Any:
        return Symbol(call(built_in("reversed"), [self]))

    def __bool__(self) -> NoReturn:
        raise BuilderError(
            f"Python's `if`, `and`, `or`, `not` and chained comparisons need a value, and `{self!r}` has one only when "
            "the net is compiled: write cases of a rule, `F[n, when(n > 2)] = …`, and `&`, `|`, `~` in conditions"
        )

    def _known(self, instead: str) -> NoReturn:
        raise BuilderError(f"`{self!r}` has a value only when the net is compiled: {instead}")

    def __index__(self) -> int:
        self._known("use `range` of fractal_dsl.builder, and lists of parameters as indices allow")

    def __int__(self) -> int:
        self._known("numbers of the language are not converted")

    def __float__(self) -> float:
        self._known("write `x / 1` for a float")

    def __len__(self) -> int:
        self._known("use `len` of fractal_dsl.builder")

    def __contains__(self, item: object) -> bool:
        self._known("the language has no `in`: write comparisons, joined by `|`")

    def __format__(self, spec: str) -> str:
        self._known("a text cannot contain it")


class Block(Term):
    """A map from a tensor to a tensor: a layer, a composition, a rule at a level.

    ``a >> b`` composes, ``a ** 3`` repeats, and ``a | b`` puts columns side by side in a rule. A Python variable stands
    for the text of the block: each use of it is a block with weights of its own.
    """

    def __rshift__(self, other: Block) -> Block:
        return Block(_chain(self, other))

    def __or__(self, other: Block) -> Block:
        ends = [node.columns if isinstance(node, s.Columns) else (node,) for node in (self.node, lift(other))]
        return Block(s.Columns((*ends[0], *ends[1]), here()))

    def __pow__(self, times: int) -> Block:
        return Block(s.Binary("**", self.node, lift(times), here()))

    def each(self, block: Block) -> Block:
        """This call of a rule with a block at the end of every column: ``F[3](64).each(maxpool2d(2))``."""
        return Block(call(s.Attribute(self.node, "each", here()), [block]))

    def _annotated(self, name: str, values: list[object], named: dict[str, object]) -> Block:
        return Block(s.Annotated(self.node, name, arguments(values, named), here()))

    def tag(self, name: str) -> Block:
        """This block with a name: ``@tag("stem")``."""
        return self._annotated("tag", [name], {})

    def checkpoint(self) -> Block:
        """This block, recomputed in the backward pass: ``@checkpoint``."""
        return self._annotated("checkpoint", [], {})

    def drop(self, p: float, *, by: str | None = None) -> Block:
        """This branch of an inline join, left out of a training step with a probability: ``@drop(10%)``.

        ``by="example"`` draws for each example, and not once for the mini-batch.
        """
        return self._annotated("drop", [p], {} if by is None else {"by": by})


def _chain(first: Term, second: Block) -> s.Flow:
    """Two blocks in order. Composition is associative, so a chain of chains is one chain."""
    ends = [node.steps if isinstance(node, s.Flow) else (node,) for node in (first.node, lift(second))]
    return s.Flow((*ends[0], *ends[1]), here())


class Layer(Block, Generic[P]):
    """A layer with parameters. Without a call it is a block if all its parameters have defaults."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Block:
        return Block(call(self.node, args, kwargs))


class Join(Term):
    """What merges tensors. Called with blocks it is a block, called with arguments a join: ``concat(dim=2)``."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        made = call(self.node, args, kwargs)
        return Block(made) if any(map(_has_blocks, args)) else Join(made)

    def __rshift__(self, other: Block) -> Join:
        return Join(_chain(self, other))


def _has_blocks(value: object) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_blocks, cast(Iterable[object], value)))
    return isinstance(value, Block | Iterator)


class At(Block, Generic[P]):
    """A rule at a level, ``F[3]``. It is a block if all parameters of the rule have defaults, and inside the rule."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Block:
        return Block(call(self.node, args, kwargs))


class Symbol(Block, Value):
    """An expression of unknown kind: an element of a list, or a name of an imported file."""

    __hash__ = Term.__hash__

    def __or__(self, other: Any) -> Any:
        plain = not isinstance(other, Block)
        return Value.__or__(self, other) if plain else Block.__or__(self, other)

    def __pow__(self, times: object) -> Any:
        return Symbol(s.Binary("**", self.node, lift(times), here()))

    def __ror__(self, other: Any) -> Any:
        return Block.__or__(other, self) if isinstance(other, Block) else Value.__ror__(self, other)

    def __rpow__(self, other: Any) -> Any:
        return Block.__pow__(other, cast(Any, self)) if isinstance(other, Block) else Value.__rpow__(self, other)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return Symbol(call(self.node, args, kwargs))

    def __rshift__(self, other: Block) -> Any:
        return Symbol(Block.__rshift__(self, other).node)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return Symbol(s.Attribute(self.node, name, here()))


def built_in(name: str) -> s.Name:
    """The name of something that comes with the language."""
    return Ref(name, here(), BUILT_IN)
