"""A captured fx graph as a plain graph: each operation, run on an example, becomes steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import fx, nn
from torch._ops import OpOverload
from torch.nn import functional as F

from fractal_dsl.importing import arithmetic, products, rearranging, reductions, shaping, weighted, windows
from fractal_dsl.importing.building import Builder, Expanded, Held, Lengths, Padded, Ref, Stacked
from fractal_dsl.importing.capture import place_of, unchanged
from fractal_dsl.importing.computed import computed
from fractal_dsl.importing.ends import Examples, Path
from fractal_dsl.importing.functions import FUNCTIONS, MIXING, MOVING, TRAILING
from fractal_dsl.importing.modules import OUTPUTS, is_known, is_trailing, module_to_layer
from fractal_dsl.importing.plain import PlainGraph
from fractal_dsl.importing.products import attended
from fractal_dsl.importing.refusal import Refusal
from fractal_dsl.importing.replaying import Replays, arguments
from fractal_dsl.importing.returning import Returned, outputs_of
from fractal_dsl.importing.views import View, aligned, as_one_axis, folded_view, has_batch, plain, settled, turned
from fractal_dsl.ops import Tensor
from fractal_dsl.runtime import layers
from fractal_dsl.runtime.joins import REDUCTIONS, join_concat

_REGISTERED = (arithmetic, products, rearranging, reductions, shaping, weighted, windows)
"""The modules that add to FUNCTIONS when they are imported."""
_FUNCTIONAL = {function: name for name, function in vars(F).items() if callable(function)}
_REDUCTIONS = {function: name for name, function in REDUCTIONS.items()}
_SHAPES = frozenset(
    "size shape dim ndim ndimension numel dtype device sym_size is_cuda type is_floating_point stride layout "
    "requires_grad is_nested __len__".split()
)
"""What Python may read of a tensor, because it does not depend on its values."""
_DTYPES = {torch.float32: "f32", torch.int64: "i64"}

OutputNaming = Callable[[Sequence[Path]], Sequence[str]]

Watch = Callable[[Builder, Any, Any], None]


def lower(
    module: fx.GraphModule,
    examples: Examples,
    inputs: Sequence[str],
    naming: OutputNaming,
    watch: Watch | None = None,
) -> PlainGraph:
    """The plain graph of a captured module, found by running it on an example. ``inputs`` are the names of its inputs;
    ``naming`` names its outputs by their paths. ``watch`` gets the builder, the value and the tensor of each operation.
    Raises Refusal."""
    lowering = _Lowering(module, examples, inputs, watch)
    with torch.no_grad(), unchanged(module):
        lowering.run(*examples)
    outputs = outputs_of(module.graph, lowering.builder, lowering.returned)
    graph = lowering.builder.finish([*outputs.values()], naming([*outputs]))
    unread = [name for name in inputs if name not in dict(graph.inputs())]
    if unread and len(inputs) > 1:
        reason = f"its input `{unread[0]}` takes no part in its output, and a net reads all its inputs"
        raise Refusal(f"{reason}: import a module that does not take it", final=True)
    return graph


class _Lowering(fx.Interpreter):
    """Runs an fx graph, and adds the steps of each node."""

    def __init__(self, module: fx.GraphModule, examples: Examples, inputs: Sequence[str], watch: Watch | None) -> None:
        super().__init__(module)
        self.watch = watch
        self.batch = len(examples[0])
        types = [Tensor(_DTYPES[example.dtype], tuple(example.shape[1:])) for example in examples]
        self.builder = Builder([*zip(inputs, types, strict=True)], self.batch)
        self.waiting = iter(self.builder.inputs)
        self.values: dict[fx.Node, Any] = {}
        state = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
        self.names = {id(t): name for name, t in reversed(state)}
        self.first = {name: self.names[id(t)] for name, t in state}  # one name for tensors with several
        self.returned = Returned()
        self.replays = Replays(self.builder, module, self.values, self._name, self._replayed)
        self.builder.operand, self.builder.number = self.replays.operand, self.replays.number
        self.extra_traceback = False

    def run_node(self, n: fx.Node) -> Any:
        self.builder.place = place_of(n)
        try:
            real = super().run_node(n)
        except Refusal:
            raise
        except Exception as error:
            raise Refusal(f"it fails on the example: {error}", self.builder.place) from error
        value = self._lowered(n, real)
        self._check(n, value, real)
        if self.watch is not None:
            self.watch(self.builder, value, real)
        self.values[n] = value
        return real

    def _lowered(self, n: fx.Node, real: Any) -> Any:
        args, kwargs = arguments(n, self.values)
        match n.op:
            case "placeholder":
                if str(n.target).startswith("*") and n.users:
                    raise Refusal(f"torch.fx cannot trace `{n.target}`", self.builder.place, capture=True)
                return next(self.waiting, real) if isinstance(real, torch.Tensor) else real
            case "get_attr":
                return Held(real, self.names.get(id(real), ""), node=n) if isinstance(real, torch.Tensor) else real
            case "output":
                self.returned = Returned(n.args[0], args[0], real)
                return None
            case _:
                pass
        if isinstance(n.target, type) and hasattr(n.target, "_fields"):
            return n.target(*args, **kwargs)
        name = self._name(n)
        if not any(isinstance(v, Ref | View | Stacked | Padded | Expanded | Lengths) for v in _leaves((args, kwargs))):
            rows = self.replays.rows(n, args)
            whole = rows is not None and rows.value.shape == real.shape[real.dim() - 2 :]
            return Held(real, rows.name, node=n) if rows and whole else _constant(n, name, real, args, kwargs)
        if any(isinstance(v, torch.Tensor) and v.dtype.is_complex for v in _leaves(real)):
            raise Refusal(f"`{name}` computes complex numbers", self.builder.place, final=True)
        if not any(isinstance(v, torch.Tensor) for v in _leaves(real)):
            known = args[1] if name in ("getattr", "_get_attr") else name
            if real is None or known in _SHAPES:
                return real
            raise Refusal(f"`{name}` reads values of a tensor to go on with them in Python", self.builder.place)
        value = self._called(n, name, args, dict(kwargs))
        if _in_place(n, name, self.module) and isinstance(value, Ref) and isinstance(args[0], Ref):
            self.values |= {node: value for node, other in self.values.items() if other == args[0]}
        return value

    def _called(self, n: fx.Node, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if n.op == "call_module":
            return self._module_of_view(str(n.target), args, kwargs)
        reduction = _REDUCTIONS.get(cast(Any, n.target))
        if reduction is not None:
            return self.builder.join(reduction, args)
        if n.target is join_concat:
            return self.builder.join("concat", args[0], dim=args[1])
        lower = FUNCTIONS.get(name)
        if lower is None:
            raise Refusal(f"`{name}` has no counterpart in the language", self.builder.place)
        first = [kwargs.pop(key) for key in ("input", "self") if key in kwargs]
        self.builder.folded = folded = 0
        if name in TRAILING - MIXING and _length_first((first, args, kwargs)):
            first, args, kwargs = self._turned((first, args, kwargs))
            return turned(self.builder, self._called(n, name, (*first, *args), kwargs))
        if name in TRAILING:
            (first, args, kwargs), folded = self._settled((first, args, kwargs))
            args, kwargs = self._moved_axis(name, args, kwargs, folded)
            self.builder.folded = folded
        elif name not in MOVING:
            first, args, kwargs = _changed((first, args, kwargs), lambda v: plain(self.builder, v))
        try:
            result = lower(self.builder, *first, *args, **kwargs)
            return folded_view(result, folded) if isinstance(result, Ref) else result
        except (TypeError, ValueError, AttributeError, KeyError, AssertionError) as error:
            reason = f"this use of `{name}` has no counterpart in the language"
            raise Refusal(reason, self.builder.place) from error

    def _replayed(self, n: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a node makes of other arguments than its own."""
        return self._called(n, self._name(n), args, kwargs)

    def _module_of_view(self, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A module, which may be called with examples that other axes are folded into."""
        module = self.module.get_submodule(path)
        if type(module) in OUTPUTS and not module.batch_first:
            args, kwargs = self._turned((args, kwargs))
            return turned(self.builder, self._module(path, args, kwargs)[0]), None
        if is_trailing(module) and _length_first((args, kwargs)):
            args, kwargs = self._turned((args, kwargs))
            return turned(self.builder, self._module(path, args, kwargs))
        (args, kwargs), folded = self._settled((args, kwargs))
        if not folded:
            return self._module(path, args, kwargs)
        x = args[0] if args else kwargs["input"]
        if isinstance(module, nn.BatchNorm1d) and x.rank == folded + 2 == 3:
            channels_first = self.builder.layer("transpose", x, dim0=1, dim1=2)
            normed = self._module(path, (channels_first,), {})
            return folded_view(self.builder.layer("transpose", normed, dim0=1, dim1=2), folded)
        if not is_trailing(module):
            raise Refusal(f"`{path}` on axes that are folded into the batch", self.builder.place)
        return folded_view(self._module(path, args, kwargs), folded)

    def _turned(self, given: Any) -> Any:
        """Arguments of which those that have their length before the batch have it behind."""

        def change(value: Any) -> Any:
            if not isinstance(value, Ref | View) or value.rank < 3:
                return value
            if isinstance(other := turned(self.builder, value), Ref):
                return other
            reason = "it takes its length before the batch, but here the batch comes first; set batch_first=True"
            raise Refusal(reason, self.builder.place)

        return _each(given, change)

    def _moved_axis(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], folded: int) -> Any:
        """The arguments for a step whose first axes, behind the batch, are folded into it in the module."""
        if not folded or name not in ("softmax", "log_softmax", "glu", "normalize"):
            return args, kwargs
        at = 2 if name == "normalize" else 1
        dim = kwargs.pop("dim", args[at] if len(args) > at else 1 if name == "normalize" else -1)
        if dim == 0 and folded > 0:
            raise Refusal(f"`{name}` over the batch", self.builder.place)
        return args[:1], {**kwargs, "dim": dim + (folded if folded > 0 else 1) if dim >= 0 else dim}

    def _settled(self, given: Any) -> tuple[Any, int]:
        """Arguments whose tensors have the batch first, alone or with some axes folded into it, and how many."""
        tensors = [v for v in _leaves(given) if isinstance(v, Ref | View)]
        batched = [settled(self.builder, v) for v in tensors if has_batch(v)]
        counts = {folded for _, folded in batched}
        if len(counts) > 1 and 0 not in counts:  # windows may be counted along one axis or two
            return self._settled(_changed(given, lambda v: as_one_axis(self.builder, v)))
        if len(counts) > 1:
            raise Refusal("an operation on tensors of which one has axes folded into the batch", self.builder.place)
        if len(batched) == len(tensors):
            return _changed(given, lambda v: settled(self.builder, v)[0]), counts.pop() if counts else 0
        if counts:
            rank, folded = max(ref.rank for ref, _ in batched), counts.pop()
        else:
            rank, folded = max(v.rank for v in tensors), 0
            if any(v.rank < rank or v.axes[0] != () for v in tensors if isinstance(v, View)):
                rank, folded = rank + 1, -1
        return _changed(given, lambda v: aligned(self.builder, v, rank, folded)), folded

    def _module(self, path: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        module = self.module.get_submodule(path)
        assert is_known(module)
        state = [name for name in module.state_dict() if "_column" not in name]
        if isinstance(module, layers.Gated):
            init = 0.0
            return self.builder.join("gated", args, {"logits": self.first[f"{path}.logits"]}, init=init)
        x = args[0] if args else kwargs.get("query", kwargs.get("input"))
        if not isinstance(x, Ref):
            raise Refusal(f"`{path}` has a constant as its input", self.builder.place)
        try:
            name, given = module_to_layer(module, x.out)
        except Refusal as refusal:
            raise Refusal(refusal.reason, self.builder.place) from None
        if name.startswith("dropout") and not given["p"]:
            return x
        prefix = ""
        if type(module) in OUTPUTS:
            prefix = "attention." if name == "attention" else "layer."
            given |= attended(self.builder, args, kwargs) if name == "attention" else {}
            if name != "attention" and len(args) > 1:
                raise Refusal("an initial state has no counterpart in the language", self.builder.place)
        ref = self.builder.layer(name, x, {prefix + key: self.first[f"{path}.{key}"] for key in state}, **given)
        return (ref, None) if type(module) in OUTPUTS else ref

    def _name(self, n: fx.Node) -> str:
        target = n.target
        if isinstance(target, str):
            name = target if n.op == "call_method" else type(self.module.get_submodule(target)).__name__
        elif isinstance(target, OpOverload):
            name = target.overloadpacket.__name__
        else:
            name = _FUNCTIONAL.get(target) or getattr(target, "__name__", str(target))
        return name if name.startswith("_") else name.removesuffix("_")

    def _check(self, n: fx.Node, value: Any, real: Any) -> None:
        """Check that a value has the shape and type that the language says, and that the batch comes first."""
        if isinstance(value, View) and isinstance(real, torch.Tensor) and value.shape(self.batch) != tuple(real.shape):
            raise Refusal(f"`{self._name(n)}` rearranges axes in a way that is not understood", self.builder.place)
        if not isinstance(value, Ref) or not isinstance(real, torch.Tensor):
            return
        if tuple(real.shape) != (self.batch, *value.out.shape) or _DTYPES.get(real.dtype) != value.out.dtype:
            shown = f"{real.dtype} {list(real.shape)}".removeprefix("torch.")
            reason = f"`{self._name(n)}` outputs {shown}, where {value.out} with the batch first was expected"
            raise Refusal(reason, self.builder.place)


def _leaves(value: Any) -> Iterator[Any]:
    match value:
        case dict():
            yield from _leaves(list(value.values()))
        case slice():
            yield from _leaves([value.start, value.stop, value.step])
        case list() | tuple():
            for item in value:
                yield from _leaves(item)
        case _:
            yield value


def _length_first(given: Any) -> bool:
    """Whether all tensors of some arguments have one axis before the batch, and constants have no more than one."""
    leaves = [v for v in _leaves(given) if isinstance(v, Ref | View | Held)]
    tensors = [v for v in leaves if isinstance(v, View)]
    first = all(v.rank > 2 and v.axes[1] == (0,) for v in tensors)
    return (
        bool(tensors) and first and all(isinstance(v, Held) and v.value.dim() < 2 for v in leaves if v not in tensors)
    )


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """Arguments, each of which is replaced."""
    match value:
        case dict():
            return {key: _each(item, change) for key, item in value.items()}
        case list() | tuple():
            return type(value)([_each(item, change) for item in value])
        case _:
            return change(value)


def _changed(value: Any, change: Callable[[View], Any]) -> Any:
    """Arguments with all views replaced."""
    return _each(value, lambda v: change(v) if isinstance(v, View) else v)


def _constant(n: fx.Node, name: str, real: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The result of an operation on constants. A view of all elements of one weight is still that weight."""
    if not isinstance(real, torch.Tensor):
        return _held_inside(real)
    held = [v for v in _leaves((args, kwargs)) if isinstance(v, Held)]
    if held and (made := computed(name, real, held, args, kwargs)) is not None:
        return Held(real, "", made, n)
    row = real[0] if real.dim() and len(real) and not real.stride(0) else real  # expanded to the batch
    same = [h for h in held if h.name and h.value.data_ptr() == real.data_ptr() and h.value.numel() == row.numel()]
    return Held(real, same[0].name if same and row.is_contiguous() else "", node=n)


def _held_inside(real: Any) -> Any:
    if isinstance(real, torch.Tensor):
        return Held(real)
    if isinstance(real, dict):
        return {key: _held_inside(value) for key, value in real.items()}
    return type(real)(_held_inside(v) for v in real) if type(real) in (list, tuple) else real


_IN_PLACE = {"iadd", "imul", "itruediv", "isub"}


def _in_place(n: fx.Node, name: str, module: nn.Module) -> bool:
    """Whether an operation overwrites its first argument."""
    if n.op == "call_module":
        return bool(getattr(module.get_submodule(str(n.target)), "inplace", False))
    target = n.target
    written = target if isinstance(target, str) else getattr(target, "__name__", "").split(".")[0]
    return bool(n.kwargs.get("inplace")) or (written.endswith("_") and not written.endswith("__")) or name in _IN_PLACE
