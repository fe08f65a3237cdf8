"""The figures of a net."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from fractal_dsl.program.columns import Label
from fractal_dsl.program.program import only


class ColumnCost(Struct, frozen=True):
    """The cost of one column: base layers on its path, parameters, multiply-accumulates per sample.

    ``shared`` are the shared blocks (ids of their terms) whose parameters are not in ``params`` yet, since they count
    once. ``values`` are the values (their keys) on its way whose parameters and multiply-accumulates are not in it yet,
    since a value is computed once. Both are empty in a Summary. ``route`` is a digest of the operands that the column
    takes: columns with equal routes are the same column.
    """

    depth: int = 0
    params: int = 0
    macs: int = 0
    shared: frozenset[int] = frozenset()
    route: int = 0
    values: frozenset[int] = frozenset()

    def __add__(self, other: ColumnCost) -> ColumnCost:
        shared = self.shared | other.shared
        route = hash((self.route, other.route)) if self.route and other.route else self.route or other.route
        return ColumnCost(
            self.depth + other.depth,
            self.params + other.params,
            self.macs + other.macs,
            shared,
            route,
            self.values | other.values,
        )


class Drops(Struct, frozen=True):
    """The branches of inline joins that training leaves out: their number, and their lowest and highest probability."""

    branches: int
    lowest: float
    highest: float

    def __add__(self, other: Drops) -> Drops:
        return Drops(self.branches + other.branches, min(self.lowest, other.lowest), max(self.highest, other.highest))


class Summary(Struct, frozen=True):
    """The figures of a net, as ``fractal-dsl info`` prints them.

    Shapes leave the batch out. MACs are multiply-accumulates of convolutions and matrix products, per sample. ``joins``
    counts the collapsed joins by arity. ``labels`` name the columns, from shallow to deep. ``drops`` is None if no
    branch has a ``@drop``. ``training_macs`` is the mean over training steps if nothing but ``@drop`` leaves parts out.
    A value outside the branch that mentions it counts in full.
    """

    net: str
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    params: int
    macs: int
    base_layers: int
    depth: int
    weighted_layers: int
    weighted_depth: int
    joins_raw: int
    joins: dict[int, int]
    paths: int
    columns: tuple[ColumnCost, ...]
    labels: tuple[Label, ...]
    drops: Drops | None
    training_macs: float

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input. Raises UserError if there are several."""
        return only(f"net {self.net}", "inputs", [*self.inputs.values()])

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the output. Raises UserError if there are several."""
        return only(f"net {self.net}", "outputs", [*self.outputs.values()])

    def json(self) -> dict[str, Any]:
        """Plain data under the documented keys."""
        own = ("inputs", "outputs", "labels")
        plain: dict[str, Any] = {"net": self.net, **self.ends()}
        plain |= {name: getattr(self, name) for name in self.__struct_fields__ if name not in own}
        plain["joins"] = {str(arity): count for arity, count in self.joins.items()}
        if self.drops is None:
            del plain["drops"], plain["training_macs"]
        else:
            plain["drops"] = {name: getattr(self.drops, name) for name in self.drops.__struct_fields__}
        plain["columns"] = [
            {"column": k, "depth": c.depth, "params": c.params, "macs": c.macs} for k, c in enumerate(self.columns, 1)
        ]
        return plain

    def ends(self) -> dict[str, Any]:
        """The shapes of the input and the output; the names and shapes of all of them if there are several."""
        inputs, outputs = ({k: list(v) for k, v in ends.items()} for ends in (self.inputs, self.outputs))
        into = {"inputs": inputs} if len(inputs) > 1 else {"input_shape": next(iter(inputs.values()))}
        return into | ({"outputs": outputs} if len(outputs) > 1 else {"output_shape": next(iter(outputs.values()))})


def approximate(n: int) -> str:
    """A number as text: exact below 10**15, else with two digits."""
    if n < 10**15:
        return f"{n:,}"
    exponent = max(0, int((n.bit_length() - 1) * 0.30102999566398120))
    while 10 ** (exponent + 1) <= n:
        exponent += 1
    return f"about {n // 10 ** (exponent - 1) / 10:.1f}e{exponent}"
