"""A page: declarations and a net, before they are written as text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fractal_dsl.importing.terms import Arg, Call, Chain, Level, Merge, calls, chains
from fractal_dsl.ops import JOINS, LAYERS, REQUIRED, Tensor


@dataclass(frozen=True)
class Param:
    """A parameter of a layer or a rule. ``kind`` says what its values mean: channels, kernel, stride, …"""

    name: str
    type: str
    kind: str
    default: Arg | None = None


@dataclass
class Layer:
    """``layer name(params) = body``"""

    name: str
    params: tuple[Param, ...]
    body: Chain


@dataclass
class Rule:
    """``rule name(params) join J { name[1] = base  name[n+1] = columns }``. In ``columns``, a call of the name without
    arguments is the rule at level n."""

    name: str
    params: tuple[Param, ...]
    join: str
    base: Chain
    columns: tuple[Chain, ...]


@dataclass
class Shared:
    """``shared name = body``"""

    name: str
    body: Chain


Decl = Layer | Rule | Shared


@dataclass
class Page:
    """A net with what it uses. ``decls`` are in the order of their first use by others, the innermost first.

    ``inputs`` and ``outputs`` are names and types. The names of outputs are empty if they have none. ``tensors`` are
    the names of inputs and values."""

    net: str
    inputs: tuple[tuple[str, Tensor], ...]
    outputs: tuple[tuple[str, Tensor], ...]
    body: Chain
    decls: list[Decl] = field(default_factory=list[Decl])
    comment: str = ""
    tensors: set[str] = field(default_factory=set[str])

    def bodies(self) -> Iterator[Chain]:
        """The bodies of all declarations, and of the net."""
        for decl in self.decls:
            match decl:
                case Layer() | Shared():
                    yield decl.body
                case Rule():
                    yield decl.base
                    yield from decl.columns
        yield self.body

    def parameters(self) -> Iterator[set[str]]:
        """The names of the parameters around each of ``bodies``."""
        for decl in self.decls:
            names: set[str] = set() if isinstance(decl, Shared) else {p.name for p in decl.params}
            yield from [names] * (1 + len(decl.columns) if isinstance(decl, Rule) else 1)
        yield set()

    def change(self, changed: dict[int, Chain]) -> None:
        """Replace bodies, by their position in ``bodies``."""
        position = 0

        def after(chain: Chain) -> Chain:
            nonlocal position
            position += 1
            return changed.get(position - 1, chain)

        for decl in self.decls:
            match decl:
                case Layer() | Shared():
                    decl.body = after(decl.body)
                case Rule():
                    decl.base = after(decl.base)
                    decl.columns = tuple([after(c) for c in decl.columns])
        self.body = after(self.body)

    def params(self, name: str) -> tuple[Param, ...] | None:
        """The parameters of a declared layer or rule; None if there is none of that name."""
        for decl in self.decls:
            if decl.name == name:
                return () if isinstance(decl, Shared) else decl.params
        return None

    def names(self) -> set[str]:
        """The names that are taken."""
        return {decl.name for decl in self.decls} | {self.net} | self.tensors

    def uses(self, name: str) -> list[Call | Level]:
        """The calls of a declaration, in the order of the text."""
        result: list[Call | Level] = []
        for body in self.bodies():
            result += [call for call in calls(body) if call.name == name]
            for chain in chains(body):
                result += [s for s in chain.steps if isinstance(s, Level) and s.rule == name]
        return result


_KINDS = {
    **dict.fromkeys(("out_channels", "out_features", "embedding_dim", "hidden_size", "groups", "out"), "channels"),
    **dict.fromkeys(("padding", "dilation", "output_padding"), "padding"),
    "kernel_size": "kernel",
    "num_heads": "heads",
    "p": "drop",
}


def kind_and_type(page: Page, owner: str, arg: str) -> tuple[str, str]:
    """What the values of an argument mean, and their type in the language."""
    declared = page.params(owner)
    if declared is not None:
        param = next(p for p in declared if p.name == arg)
        return param.kind, param.type
    spec = LAYERS.get(owner) or JOINS.get(owner)
    if spec is None:
        return arg, "int"
    kind = next(p.kind for p in spec.params if p.name == arg)
    types = {"float": "float", "prob": "prob", "scale": "float"}
    return _KINDS.get(arg, arg), types.get(kind, "int")


def required(owner: str, arg: str) -> bool:
    """Whether a layer of the language needs an argument."""
    return any(p.name == arg and p.default is REQUIRED for p in LAYERS[owner].params)


def default_of(owner: str, arg: str, call: Call | Merge) -> Arg | None:
    """The default of an argument; of a pooling's stride, its kernel."""
    spec = LAYERS.get(owner) or JOINS[owner]
    given = dict(call.args)
    default = next(p.default for p in spec.params if p.name == arg)
    if arg == "stride" and default is None:
        return given["kernel_size"]
    assert default is not REQUIRED
    return default
