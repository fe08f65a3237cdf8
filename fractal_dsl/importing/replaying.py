"""Tensors that do not depend on the input, as steps: learned ones, and what a module computes of them.

Most weights belong to a layer. Others, such as attention biases, are computed from weights and constants, and then read
beside a step. Only then are the operations replayed that compute them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx, nn

from fractal_dsl.importing.building import Builder, Held, Ref
from fractal_dsl.importing.constants import recognised
from fractal_dsl.importing.rearranging import sliced
from fractal_dsl.importing.refusal import Refusal
from fractal_dsl.importing.views import View, aligned

Call = Callable[[fx.Node, tuple[Any, ...], dict[str, Any]], Any]
_COMMUTING = ("add", "iadd", "mul", "imul", "sub", "isub", "rsub", "maximum", "minimum")
_LISTS = ("cat", "concat", "concatenate", "stack")


class Replays:
    """Makes steps of tensors that do not depend on the input. ``call`` lowers a node with given arguments."""

    def __init__(
        self,
        builder: Builder,
        module: nn.Module,
        values: Mapping[fx.Node, Any],
        name: Callable[[fx.Node], str],
        call: Call,
    ) -> None:
        self.builder, self.module, self.values, self.name, self.call = builder, module, values, name, call
        self.made: dict[fx.Node, Any] = {}
        self.learned: dict[fx.Node, bool] = {}

    def operand(self, held: Held, rank: int) -> Ref | None:
        """The step of a tensor, to be read beside a step of a rank; None for a constant that has no counterpart."""
        made = self._value(held) if held.node is not None else None
        return None if made is None else aligned(self.builder, made, rank, self.builder.folded)

    def number(self, held: Held) -> float | None:
        """The number that a constant has everywhere; None if it depends on weights, or has several."""
        value = held.value
        if held.node is None or self._learned(held.node) or not value.is_floating_point() or not value.numel():
            return None
        first = float(value.flatten()[0])
        return first if bool((value == first).all()) else None

    def _value(self, held: Held) -> Ref | View | None:
        node, b = held.node, self.builder
        assert node is not None
        if not self._learned(node):
            return recognised(b, held.value)
        if node not in self.made:
            self.made[node] = self._made(node, held.value)
        return self.made[node]

    def _made(self, node: fx.Node, real: torch.Tensor) -> Any:
        b = self.builder
        if node.op == "get_attr":
            return self._parameter(self.values[node].name, tuple(real.shape))
        rows = self.rows(node, arguments(node, self.values)[0])
        if rows is not None:
            table = self._parameter(rows.name, tuple(rows.value.shape))
            return View(sliced(b, table.ref, 1, 0, real.shape[-2]), table.axes)
        args, kwargs = self._arguments(node)
        folded, b.folded = b.folded, 0
        try:
            made = self.call(node, args, kwargs)
        finally:
            b.folded = folded
        return self._viewed(made, real)

    def rows(self, node: fx.Node, args: tuple[Any, ...]) -> Held | None:
        """The table of which a node looks up the first rows, one after another, as for the positions of a sequence."""
        table, index = None, next((v for v in args if isinstance(v, Held) and v.value.dtype == torch.int64), None)
        if self.name(node) == "embedding":
            table = next((v for v in args if isinstance(v, Held) and v.value.is_floating_point()), None)
        elif node.op == "call_module" and isinstance(
            inner := self.module.get_submodule(str(node.target)), nn.Embedding
        ):
            table = Held(inner.weight, f"{node.target}.weight" if inner.max_norm is inner.padding_idx is None else "")
        if table is None or not table.name or index is None:
            return None
        first = torch.arange(index.value.numel()).reshape(index.value.shape)
        return table if torch.equal(index.value, first) and index.value.shape[:-1].numel() == 1 else None

    def _parameter(self, name: str, shape: tuple[int, ...]) -> View:
        """A learned tensor. A first axis of size 1 stands for the batch, so that the layer does not have it."""
        alone = len(shape) > 1 and shape[0] == 1
        ref = self.builder.layer("parameter", self.builder.start, {"weight": name}, shape=shape[alone:] or (1,))
        axes = tuple([(i,) for i in range(1, ref.rank)]) if shape else ()
        return View(ref, ((), *axes) if alone else axes)

    def _arguments(self, node: fx.Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a node, of which those that are no weights of a layer are steps."""
        args, kwargs = arguments(node, self.values)
        given = list(args)
        held = [i for i, v in enumerate(given) if isinstance(v, Held)]
        if self.name(node) in _COMMUTING:
            held = [i for i in held if given[i].node is not None and self._learned(given[i].node)] or held
        if self.name(node) in _LISTS and given:
            given[0] = [self._first(v) for v in given[0]]
        elif held and (held[0] == 0 or self.name(node) in _COMMUTING):
            given[held[0]] = self._first(given[held[0]])
        elif given and not isinstance(given[0], Held) and isinstance(node.args[0], fx.Node):
            given[0] = self._several(node.args[0], given[0])
        return tuple(given), dict(kwargs)

    def _first(self, value: Any) -> Any:
        if not isinstance(value, Held) or value.node is None:
            return value
        made = self._value(value)
        if made is None:
            raise Refusal(f"`{self.name(value.node)}` computes a constant that has no counterpart", self.builder.place)
        return made

    def _several(self, node: fx.Node, value: Any) -> Any:
        """What a node with several outputs makes."""
        if not isinstance(value, list | tuple) or not self._learned(node):
            return value
        if node not in self.made:
            args, kwargs = self._arguments(node)
            made = self.call(node, args, kwargs)
            reals = [v.value if isinstance(v, Held) else v for v in value]
            self.made[node] = tuple([self._viewed(m, r) for m, r in zip(made, reals, strict=True)])
        return self.made[node]

    def _viewed(self, made: Any, real: torch.Tensor) -> Ref | View:
        """What a replay made, as a tensor without a batch if it has none in the module. Raises Refusal."""
        if isinstance(made, Ref) and real.dim() == made.rank and real.shape[0] == 1:
            made = View(made, ((), *[(i,) for i in range(1, made.rank)]))
        batch = self.builder.batch
        shape = (
            (batch, *made.out.shape) if isinstance(made, Ref) else made.shape(batch) if isinstance(made, View) else None
        )
        if shape != tuple(real.shape):
            raise Refusal("a tensor computed from weights has no counterpart in the language", self.builder.place)
        return made

    def _learned(self, node: fx.Node) -> bool:
        """Whether a node depends on parameters."""
        stack = [node]
        while stack:
            top = stack[-1]
            waiting = [n for n in top.all_input_nodes if n not in self.learned]
            if top in self.learned or not waiting:
                self.learned.setdefault(
                    top, self._has_weights(top) or any(self.learned[n] for n in top.all_input_nodes)
                )
                stack.pop()
            stack += waiting if top not in self.learned else []
        return self.learned[node]

    def _has_weights(self, node: fx.Node) -> bool:
        if node.op == "get_attr":
            held = self.values.get(node)
            return isinstance(held, Held) and isinstance(held.value, nn.Parameter)
        if node.op == "call_module":
            return any(True for _ in self.module.get_submodule(str(node.target)).parameters())
        return False


class _Value:
    """Keeps ``fx.map_arg`` from looking into a value."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _unwrapped(value: Any) -> Any:
    match value:
        case _Value():
            return value.value
        case dict():
            return {key: _unwrapped(item) for key, item in value.items()}
        case slice():
            return slice(*[_unwrapped(v) for v in (value.start, value.stop, value.step)])
        case list():
            return [_unwrapped(item) for item in value]
        case tuple() if hasattr(value, "_fields"):
            return type(value)(*map(_unwrapped, value))
        case tuple():
            return tuple([_unwrapped(item) for item in value])
        case _:
            return value


def arguments(node: fx.Node, values: Mapping[fx.Node, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a node, with values in place of nodes."""

    def wrapped(n: fx.Node) -> Any:
        return _Value(values[n])

    args, kwargs = fx.map_arg((node.args, node.kwargs), wrapped)
    return _unwrapped(args), _unwrapped(kwargs)
