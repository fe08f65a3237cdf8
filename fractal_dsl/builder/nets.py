"""Nets, their types and options, and training settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from fractal_dsl.builder.declaration import Declaration, Holder, body_of, declarations_of
from fractal_dsl.builder.errors import BuilderError
from fractal_dsl.builder.lift import arguments, lift
from fractal_dsl.builder.nodes import LOCAL, Ref, declared_name
from fractal_dsl.builder.places import here
from fractal_dsl.builder.settings import Train
from fractal_dsl.builder.signature import Signature
from fractal_dsl.builder.spec import Spec
from fractal_dsl.builder.tensors import with_values
from fractal_dsl.builder.values import Block
from fractal_dsl.compiled import MAX_LAYERS, Compiled
from fractal_dsl.language import syntax as s


class TensorType(Struct, frozen=True):
    """The type of a tensor, without the batch axis."""

    tree: s.TypeExpr


class ElementType:
    """``f32`` or ``i64``. With sizes it is the type of a tensor: ``f32[3, 32, 32]``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getitem__(self, sizes: int | tuple[int, ...]) -> TensorType:
        dims = sizes if isinstance(sizes, tuple) else (sizes,)
        return TensorType(s.TypeExpr(self.name, here(), dims=tuple([lift(d) for d in dims])))


f32, i64 = ElementType("f32"), ElementType("i64")


class Option(Struct, frozen=True):
    """An option of a net."""

    tree: s.Call


def drop_path(
    local: float | None = None,
    global_: float | None = None,
    columns: Literal["all"] | Sequence[float] | None = None,
) -> Option:
    """Drop-path in training: the probability that an operand is dropped in a local step, and that a step is global.

    ``columns="all"`` trains every column on each mini-batch; weights of columns say how often each is drawn.
    """
    given = {"local": local, "global": global_, "columns": columns}
    args = arguments([], {k: v for k, v in given.items() if v is not None and not isinstance(v, str)})
    if isinstance(columns, str):
        args = (*args, s.Arg("columns", Ref(columns, here(), LOCAL), here()))
    return Option(s.Call(Ref("drop_path", here(), LOCAL), args, here()))


def init(name: str, *, fan: Literal["in", "out", "average"] | None = None) -> Option:
    """The initialisation of the weights, such as ``"xavier"``, and the fan that it divides by."""
    named = {} if fan is None else {"fan": fan}
    return Option(s.Call(Ref("init", here(), LOCAL), arguments([name], named), here()))


class Net(Holder):
    """A net with everything that it mentions: a program."""

    def __repr__(self) -> str:
        return f"net {declarations_of(self)[0].names[0]}"

    def to_frac(self) -> str:
        """The text of the net and of what it mentions. Raises BuilderError for what has no text."""
        return Spec(self).to_frac()

    def compile(
        self,
        params: Mapping[str, object] | None = None,
        *,
        max_layers: int = MAX_LAYERS,
        allow_python: bool = False,
    ) -> Compiled:
        """The net, checked and measured, as ``compile_file`` gives it for its text.

        Raises FracError with every error; each points at its line of Python and shows the text of the language.
        """
        return Spec(self).compile(params, max_layers=max_layers, allow_python=allow_python)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """The net as a picture in a notebook."""
        return self.compile()._repr_mimebundle_(include, exclude)  # pyright: ignore[reportPrivateUsage]


def _outputs(
    to: TensorType | tuple[TensorType, ...] | Mapping[str, TensorType], signature: Signature
) -> list[tuple[s.Name | None, TensorType]]:
    """The outputs of a net with their names, if they have names."""
    if isinstance(to, Mapping):
        names = [s.Name(declared_name(name, signature.at), signature.at) if len(to) > 1 else None for name in to]
        return list(zip(names, to.values(), strict=True))
    return [(None, type) for type in (to if isinstance(to, tuple) else (to,))]


def net(
    *inputs: TensorType,
    to: TensorType | tuple[TensorType, ...] | Mapping[str, TensorType],
    options: Iterable[Option] = (),
    train: Train | None = None,
) -> Callable[[Callable[..., Block | tuple[Block, ...]]], Net]:
    """A network. The function's parameters are the names of the inputs; it returns the block between them and ``to``.
    For several outputs, ``to`` is a tuple of types, or a mapping from names to types, and the function returns a tuple
    of blocks.

    >>> from fractal_dsl.builder import flatten, linear
    >>> @net(f32[1, 8, 8], to=f32[10], options=[init("xavier")])
    ... def Digits(image):
    ...     return flatten >> linear(10)
    >>> print(Digits.to_frac())
    frac 1
    <BLANKLINE>
    net Digits(image: f32[1, 8, 8]) -> f32[10] with init("xavier") = flatten >> linear(10)
    <BLANKLINE>
    >>> Digits.compile().summary.params
    650
    """
    at, given = here(), tuple([option.tree for option in options])

    def decorated(function: Callable[..., Block | tuple[Block, ...]]) -> Net:
        signature = Signature(function, skip=len(inputs))
        if not inputs or len(signature.skipped) != len(inputs) or signature.parameters:
            raise BuilderError(f"`{signature.name}` needs a parameter and a type for each input", at)

        def make() -> s.NetDecl:
            names = [s.Name(name, signature.at) for name in signature.skipped]
            result = function(*[Block(signature.ref(name)) for name in signature.skipped])
            if isinstance(result, tuple) and len(result) > 1:
                items = tuple([body_of(signature, item, Block, "blocks") for item in result])
                body: s.Expr = s.Outputs(items, signature.at)
            else:
                body = body_of(signature, result, Block, "a block")
            ends = tuple([s.Parameter(n, t.tree, None, signature.at) for n, t in zip(names, inputs, strict=True)])
            outputs = tuple([s.Output(name, type.tree, signature.at) for name, type in _outputs(to, signature)])
            name = s.Name(signature.name, signature.at)
            body = with_values(body, declaration)
            return s.NetDecl(name, ends, outputs, given, body, signature.at, signature.doc)

        declaration = Declaration((signature.name,), signature.at, make, signature)
        return Net(declaration, *declarations_of(train))

    return decorated
