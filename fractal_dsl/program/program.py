"""A resolved program: every name bound, every parameter known, every type checked.

A program is a term, a small DAG. A rule instance such as ``F[3](64)`` is one object however often it is used, so a
program has O(levels) terms where the network has O(2^levels) layers. Shapes leave the batch out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from msgspec import Struct, field

from fractal_dsl.base.errors import UserError
from fractal_dsl.language.source import Source, Sources, Span
from fractal_dsl.ops import Args, JoinSpec, OpSpec, Tensor


class Op(Struct, frozen=True, eq=False):
    """One built-in layer with its arguments."""

    spec: OpSpec
    args: Args
    span: Span


class Seq(Struct, frozen=True, eq=False):
    """Composition. An item may occur many times."""

    items: tuple[Term, ...]
    span: Span


class Bundle(Struct, frozen=True, eq=False):
    """Parallel columns, open until the join of the rule closes them."""

    columns: tuple[Term, ...]
    span: Span


class JoinUse(Struct, frozen=True, eq=False):
    """A join with its arguments, and the block that follows it, if any."""

    spec: JoinSpec
    args: Args
    after: Term | None
    span: Span


class Instance(Struct, frozen=True, eq=False):
    """A rule at a level with arguments: ``F[3](64)``."""

    rule: str
    level: int
    join: JoinUse | None
    body: Term

    def __str__(self) -> str:
        return f"{self.rule}[{self.level}]"


class Mention(Struct, frozen=True, eq=False):
    """A use of a rule instance. ``inside`` is true inside the same rule, where the bundle stays open."""

    instance: Instance
    inside: bool
    span: Span


class Each(Struct, frozen=True, eq=False):
    """``target.each(block)``: the block at the end of every column of the target's open bundle."""

    target: Term
    block: Term
    span: Span


class Merge(Struct, frozen=True, eq=False):
    """An inline join, ``sum(id, conv(64))``. It is never merged with a neighbour, and ``drop_path`` ignores it.

    ``drops`` are the probabilities that a training step leaves out its branches (``@drop``), or empty if all are 0.
    """

    join: JoinUse
    branches: tuple[Term, ...]
    span: Span
    drops: tuple[float, ...] = ()


class NamedBlock(Struct, frozen=True, eq=False):
    """A call of a user's layer: its body under its name.

    With ``shared``, it has one set of weights however often it is used: it is one object, compared by identity. A block
    that uses those weights in another way, ``unembed(block)``, names it as ``weights``.
    """

    name: str
    body: Term
    span: Span
    shared: bool = False
    weights: NamedBlock | None = None

    @property
    def owner(self) -> int:
        """The identity of the block whose weights it uses."""
        return id(self.weights or self)


class Tagged(Struct, frozen=True, eq=False):
    """An annotated block. Annotations never change the topology."""

    body: Term
    annotation: str
    value: str
    span: Span


class Value(Struct, frozen=True, eq=False):
    """A block that ``where`` names: it is computed once, on the input of the body. ``key`` is unique in the program."""

    key: int
    name: str
    block: Term
    span: Span


class ValueUse(Struct, frozen=True, eq=False):
    """A mention of the value with this key, where the input of its body flows in."""

    key: int
    name: str
    span: Span


class Where(Struct, frozen=True, eq=False):
    """A body with the values that it needs, each after those that it needs itself."""

    values: tuple[Value, ...]
    body: Term
    span: Span


class Outputs(Struct, frozen=True, eq=False):
    """The outputs of a net that has several: the body of the net, or of the ``where`` around it."""

    items: tuple[Term, ...]
    span: Span


class Hole(Struct, frozen=True, eq=False):
    """A placeholder for a block with an error that has been reported."""

    span: Span


Term = Op | Seq | Bundle | Mention | Each | Merge | NamedBlock | Tagged | ValueUse | Where | Outputs | Hole


def opens(term: Term) -> bool:
    """Whether a term outputs an open bundle, which only happens inside the rule that builds it."""
    match term:
        case Mention():
            return term.inside
        case Bundle():
            return True
        case Seq():
            return bool(term.items) and opens(term.items[-1])
        case Each():
            return opens(term.target)
        case Tagged() | Where():
            return opens(term.body)
        case _:
            return False


def closing(term: Term, instances: Sequence[Instance]) -> Instance:
    """The rule instance whose join closes an open term. ``instances`` are the enclosing ones, innermost last."""
    match term:
        case Mention():
            return term.instance
        case Seq():
            return closing(term.items[-1], instances)
        case Each():
            return closing(term.target, instances)
        case Tagged() | Where():
            return closing(term.body, instances)
        case _:
            return instances[-1]


class DropPath(Struct, frozen=True):
    """``drop_path(local=p, global=g)``: probabilities (paper, section 3.1).

    ``all_columns`` trains every column on each mini-batch. ``weights`` are the relative probabilities of the columns in
    global steps; without them all are equally likely.
    """

    local: float = 0.0
    global_: float = 0.0
    all_columns: bool = False
    weights: tuple[float, ...] = ()


class Init(Struct, frozen=True):
    """``init("xavier", fan="in")``: how weights are drawn. ``fan`` is empty for schemes without one."""

    scheme: str = "default"
    fan: str = ""

    def __str__(self) -> str:
        usual = self.fan == FANS.get(self.scheme, "")
        return f'init("{self.scheme}")' if usual else f'init("{self.scheme}", fan="{self.fan}")'


FANS = {"xavier": "average", "xavier_normal": "average", "kaiming": "in", "kaiming_normal": "in"}
"""The schemes that divide the variance by a number of connections, and by which they do unless ``fan`` says it."""


class NetInput(Struct, frozen=True):
    """An input of a net: its declared shape, and the place of the declaration. The body mentions it as the value with
    this key."""

    name: str
    tensor: Tensor
    key: int
    span: Span


class NetOutput(Struct, frozen=True):
    """An output of a net: its name, its declared shape, and the place of the declaration."""

    name: str
    tensor: Tensor
    span: Span


class Program(Struct, frozen=True):
    """One net of a file, ready to be measured and expanded.

    ``params`` are the values of the file's parameters, and ``train`` the settings of its train block.
    """

    sources: Sources
    net: str
    inputs: tuple[NetInput, ...]
    outputs: tuple[NetOutput, ...]
    body: Term
    span: Span
    drop_path: DropPath | None = None
    drop_path_span: Span | None = None
    init: Init = Init()
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    train: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def input(self) -> Tensor:
        """The shape of the input. Raises UserError if there are several."""
        return only(f"net {self.net}", "inputs", [one.tensor for one in self.inputs])

    @property
    def output(self) -> Tensor:
        """The shape of the output. Raises UserError if there are several."""
        return only(f"net {self.net}", "outputs", [one.tensor for one in self.outputs])

    @property
    def source(self) -> Source:
        """The source that declares the net."""
        return self.sources.all[0]


T = TypeVar("T")


def only(net: str, kind: str, ends: Sequence[T]) -> T:
    """The only input or output of a net. Raises UserError for one with several, which only some commands support."""
    if len(ends) > 1:
        raise UserError(
            f"{net} has {len(ends)} {kind}, and this works only for nets with one: docs/tasks.md says what works with "
            f"several. In Python, `{kind}` has all of them"
        )
    return ends[0]
