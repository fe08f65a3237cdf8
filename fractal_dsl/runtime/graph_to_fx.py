"""Turns a join graph into modules and a flat ``torch.fx.Graph``, node by node. Nothing is traced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import fx, nn
from torch.utils._device import DeviceContext

from fractal_dsl.base.escaping import one_line
from fractal_dsl.graph.graph import Input, Join, JoinGraph, Layer, Output, Site
from fractal_dsl.graph.passes.assign_columns import mangle
from fractal_dsl.ops import TorchModule
from fractal_dsl.ops.foreign_python import load_class
from fractal_dsl.plans.plan import FULL
from fractal_dsl.runtime import distances, layers, tensors
from fractal_dsl.runtime.batchnorm import ROUTED, Routed
from fractal_dsl.runtime.cloning import Template, can_clone
from fractal_dsl.runtime.joins import REDUCTIONS, join_broadcast, join_concat

LARGE = 20_000
"""Nodes of a net whose code is generated when it is needed, as on meta: that takes longer than building the net."""


def graph_to_modules(graph: JoinGraph, device: str | torch.device = "cpu") -> dict[str, nn.Module]:
    """The modules of a graph by path, with torch's default initialisation. ``id`` layers need none.

    Batch norms keep statistics by route if the net's drop-path runs single columns and the norm's input depends on the
    route, which it does from the first join of a rule on. Raises MemoryError if memory runs out.
    """
    routed = behind_joins(graph) if graph.stage == "labelled" and routes_apart(graph) else frozenset[int]()
    modules: dict[str, nn.Module] = {}
    columns: dict[str, int] = {}
    for number, node in graph.items():
        if isinstance(node, Layer) and number in routed:
            columns[node.module] = columns.get(node.module, 0) | node.columns
    templates: dict[tuple[int, ...], Template] = {}  # nodes that share arguments and input shape are constructed alike
    try:
        for number, node in graph.items():
            if not isinstance(node, Layer | Join) or node.module in modules or (isinstance(node, Layer) and node.idle):
                continue
            mask = columns.get(node.module, 0)
            key = id(node.spec), id(node.args), id(node.into) if isinstance(node, Layer) else number, mask
            if key in templates:
                modules[node.module] = templates[key]()
            elif (construction := graph.construction(number)) is not None:
                with _Uninitialised() if torch.device(device).type == "meta" else torch.device(device):
                    module = modules[node.module] = make_module(construction, mask)
                if ":" not in construction.target and can_clone(module):
                    templates[key] = Template(module)
    except RuntimeError as error:
        if "can't allocate memory" in str(error):  # torch raises no special class
            raise MemoryError from None
        raise
    return modules


def routes_apart(graph: JoinGraph) -> bool:
    """Whether training runs single columns, so that their batch-norm statistics are kept apart."""
    drop_path = graph.drop_path
    return len(graph.columns) > 1 and drop_path is not None and (drop_path.global_ > 0 or drop_path.all_columns)


class _Uninitialised(DeviceContext):
    """``torch.device("meta")`` that skips initialisers, because meta tensors have no values."""

    def __init__(self) -> None:
        super().__init__(torch.device("meta"))

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _INITIALISERS:
            return args[0] if args else (kwargs or {})["tensor"]
        return cast(Any, super()).__torch_function__(func, types, args, kwargs)


_INITIALISERS = {nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.constant_, nn.init.normal_}


def behind_joins(graph: JoinGraph) -> frozenset[int]:
    """The nodes whose input depends on the route of a plan: those behind a join of a rule."""
    behind: set[int] = set()
    for number in graph.g.nodes:
        operands = graph.operands(number)
        if any(o in behind or (isinstance(n := graph[o], Join) and n.of_columns) for o in operands):
            behind.add(number)
    return frozenset(behind)


def make_module(spec: TorchModule, columns: int = 0) -> nn.Module:
    """A node's torch module. Batch norms keep statistics for each of ``columns``, a bit mask."""
    if columns and spec.target in ROUTED:
        norm = ROUTED[spec.target](*spec.args, **dict(spec.kwargs))
        norm.add_routes([k for k in range(1, columns.bit_length() + 1) if columns >> (k - 1) & 1])
        return norm
    if ":" in spec.target:
        return load_class(spec.target)(*spec.args, **dict(spec.kwargs))
    package, _, name = spec.target.rpartition(".")
    cls: type[nn.Module] = getattr(nn, name) if package else _OURS[name]
    return cls(*spec.args, **dict(spec.kwargs))


_OURS: dict[str, Any] = {**vars(layers), **vars(tensors), **vars(distances)}


def module_tree(modules: Mapping[str, nn.Module]) -> nn.Module:
    """A module that holds the given ones under their dotted names."""
    container_of = Template(nn.Module())
    root = container_of()
    containers: dict[str, nn.Module] = {"": root}

    def container(path: str) -> nn.Module:
        if path not in containers:
            above, _, name = path.rpartition(".")
            containers[path] = container_of()
            container(above).add_module(name, containers[path])
        return containers[path]

    for path, module in modules.items():
        above, _, name = path.rpartition(".")
        container(above).add_module(name, module)
    return root


def graph_to_fx(graph: JoinGraph, modules: Mapping[str, nn.Module], route: int = FULL) -> fx.Graph:
    """The graph as an fx graph. Each node has its ``.frac`` line in ``meta["stack_trace"]``.

    ``route`` is the batch-norm route of a column's graph that shares the whole net's ``modules``.
    """
    result = fx.Graph()
    made: dict[int, fx.Node] = {}
    trace = _Provenance(graph)
    for number, node in graph.items():
        operands = [made[o] for o in graph.operands(number)]
        match node:
            case Input():
                made[number] = result.placeholder(_argument(node.name), torch.Tensor)
            case Output():
                result.output(operands[0] if len(operands) == 1 else tuple(operands))
            case Layer() if node.idle:
                made[number] = operands[0]
            case Layer():
                options: dict[str, Any] = {}
                name = node.name.replace(".", "_")
                if route != FULL and isinstance(module := modules[node.module], Routed) and module.has_route(route):
                    options["route"] = route
                made[number] = _call(result, "call_module", node.module, (operands[0],), name)
                if options:
                    made[number].kwargs = options
                made[number].meta["stack_trace"] = trace(node.site)
            case Join():
                name = node.name.replace(".", "_")
                if node.spec.torch is not None:
                    made[number] = _call(result, "call_module", node.module, tuple(operands))
                elif node.spec.name == "concat":
                    made[number] = _call(result, "call_function", join_concat, (operands, node.args["dim"]), name)
                elif graph.broadcasts(number):
                    shown = (node.spec.name, node.out.shape, *operands)
                    made[number] = _call(result, "call_function", join_broadcast, shown, name)
                else:
                    made[number] = _call(result, "call_function", REDUCTIONS[node.spec.name], tuple(operands), name)
                made[number].meta["stack_trace"] = trace(node.site)
    return result


def _call(graph: fx.Graph, op: str, target: Any, args: tuple[Any, ...], name: str | None = None) -> fx.Node:
    """A new node. Its arguments are set afterwards: to search arguments for symbolic numbers takes fx half its time."""
    node = graph.create_node(op, target, name=name)
    node.args = args
    return node


def _argument(name: str) -> str:
    """The input's name as an argument of ``forward(self, …)``."""
    return f"{name}_" if name == "self" else mangle(name)


class _Provenance:
    """Formats sites like Python stack frames, which fx and torch.export show."""

    def __init__(self, graph: JoinGraph) -> None:
        self.sources = graph.sources
        self.known: dict[tuple[int, tuple[str, ...]], str] = {}

    def __call__(self, site: Site) -> str:
        key = (site.span.start, site.trail)
        if key not in self.known:
            source = self.sources.at(site.span)
            line, _ = source.position(site.span.start)
            where = ", from ".join(site.trail)
            name, text = one_line(source.name), one_line(source.line(line).strip())
            self.known[key] = f'  File "{name}", line {line}, in {where}\n    {text}\n'
        return self.known[key]
