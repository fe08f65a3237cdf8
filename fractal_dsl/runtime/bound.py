"""The current modules of a net, by their names in its graph.

The net's own tree of submodules is the only source. A replaced submodule is thus replaced everywhere: in the generated
code, in plans, in columns and in anytime answers.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping
from operator import attrgetter, is_
from typing import cast

from msgspec import Struct
from torch import fx, nn
from torch.nn.modules.batchnorm import _NormBase  # pyright: ignore[reportPrivateUsage]

from fractal_dsl.base.errors import UserError
from fractal_dsl.graph.graph import Join, JoinGraph, Layer
from fractal_dsl.runtime.batchnorm import Routed
from fractal_dsl.runtime.graph_to_fx import behind_joins, make_module, routes_apart

_CHILDREN = attrgetter("_modules")


class ModuleKind(Struct, frozen=True):
    """A module as it was built: its class, and the columns that it keeps statistics for."""

    cls: type[nn.Module]
    routes: tuple[int, ...]


def module_kind(module: nn.Module) -> ModuleKind:
    """The kind of a newly built module."""
    return ModuleKind(type(module), module.routes() if isinstance(module, Routed) else ())


class _Link(Struct, frozen=True):
    """A module in its parent, or in the root if ``parent`` is None."""

    parent: nn.Module | None
    name: str
    module: nn.Module


class Links:
    """The modules that a tree of modules had at some places. ``hold`` tells whether it still has them."""

    def __init__(self, links: Iterable[_Link]) -> None:
        links = [*links]
        inner = [(link.parent, link.name, link.module) for link in links if link.parent is not None]
        self._top = [(link.name, link.module, type(link.module)) for link in links if link.parent is None]
        self._parents = [parent for parent, _, _ in inner]
        self._names = [name for _, name, _ in inner]
        self._inner = [module for _, _, module in inner]
        self._classes = [*map(type, self._inner)]

    def hold(self, root: nn.Module) -> bool:
        """Whether ``root`` still has these modules, and they are of the same classes.

        Each run asks it, so thousands of modules are compared without Python code for each.
        """
        modules = root._modules  # pyright: ignore[reportPrivateUsage]
        for name, module, cls in self._top:
            if modules.get(name) is not module or type(module) is not cls:
                return False
        current = [*map(dict[str, nn.Module | None].get, map(_CHILDREN, self._parents), self._names)]
        return all(map(is_, current, self._inner)) and all(map(is_, map(type, current), self._classes))


class Bound:
    """The modules of a net by the names in ``kinds``. ``links`` tells whether the net still has them.

    ``elsewhere`` has the modules that another process runs. Raises UserError if a module is missing.
    """

    def __init__(
        self, root: nn.Module, graph: JoinGraph, kinds: Mapping[str, ModuleKind], elsewhere: Mapping[str, nn.Module]
    ) -> None:
        self.graph, self.kinds = graph, kinds
        self.modules: dict[str, nn.Module] = {}
        self._links: dict[str, _Link] = {}
        for name in kinds:
            self.modules[name] = elsewhere[name] if name in elsewhere else self._walk(root, name)
        self.links = Links(self._links.values())
        self.unfit = self._unfit()

    def _walk(self, root: nn.Module, path: str) -> nn.Module:
        if path in self._links:
            return self._links[path].module
        above, _, name = path.rpartition(".")
        parent = self._walk(root, above) if above else root
        module = parent._modules.get(name)  # pyright: ignore[reportPrivateUsage]
        if module is None:
            raise UserError(
                f"net {self.graph.net} no longer has module {path}, which its spec runs: "
                f"put one there (nn.Identity() does nothing), or build the net again"
            )
        self._links[path] = _Link(parent if above else None, name, module)
        return module

    def links_of(self, nodes: Iterable[int]) -> Links:
        """The places of the modules that some nodes of the graph call, and of the modules around them."""
        names = [node.module for i in nodes if isinstance(node := self.graph[i], Layer | Join)]
        paths = [name.split(".") for name in names if name in self._links]
        around = dict.fromkeys(".".join(path[:n]) for path in paths for n in range(1, len(path) + 1))
        return Links([self._links[path] for path in around])

    def modules_of(self, graph: JoinGraph) -> dict[str, nn.Module]:
        """The modules of a column's graph: the net's own ones, and new ones for what the column adds."""
        modules: dict[str, nn.Module] = {}
        for number, node in graph.items():
            construction = None if isinstance(node, Layer) and node.idle else graph.construction(number)
            if construction is not None and isinstance(node, Layer | Join):
                modules[node.module] = self.modules.get(node.module) or make_module(construction)
        return modules

    def check_routes(self) -> None:
        """Raise UserError if a column would run with the statistics of another route."""
        if self.unfit is not None:
            name, was = self.unfit
            raise UserError(
                f"{name} was {was.cls.__name__} and is now {type(self.modules[name]).__name__}, which keeps one set of "
                f"running statistics, but each column of net {self.graph.net} needs its own. Use a norm "
                "without running statistics, such as GroupNorm, or change the layer in the spec. To synchronise batch "
                "norms over processes, train with --parallel ddp; to fold them, use fuse(model.extract(k))"
            )

    def _unfit(self) -> tuple[str, ModuleKind] | None:
        """The first replaced module behind a join that cannot tell the routes apart, and what it replaced."""
        changed = [name for name, kind in self.kinds.items() if not _is(self.modules[name], kind)]
        if not changed or not routes_apart(self.graph):
            return None
        nodes = behind_joins(self.graph)
        behind = {node.module for number, node in self.graph.items() if number in nodes and isinstance(node, Layer)}
        return next(
            ((n, self.kinds[n]) for n in changed if n in behind and _mixes(self.modules[n], self.kinds[n])), None
        )


def _is(module: nn.Module, kind: ModuleKind) -> bool:
    """Whether a module is of a kind. Its class may be a subclass, as parametrizations create them."""
    routes = module.routes() if isinstance(module, Routed) else ()
    return isinstance(module, kind.cls) and {*kind.routes} <= {*routes}


def _mixes(module: nn.Module, kind: ModuleKind) -> bool:
    """Whether a module that replaced one of this kind has, or may have taken over, running statistics."""
    if kind.routes and (isinstance(module, nn.Identity) or any(True for _ in module.buffers())):
        return True
    return any(isinstance(m, _NormBase) and m.running_mean is not None for m in module.modules())


def copied(modules: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """Copies of modules with their hooks. Shared weights stay shared. Raises UserError if torch cannot copy them."""
    try:
        return copy.deepcopy(modules)
    except RuntimeError as error:
        raise UserError(
            f"the net's modules cannot be copied ({str(error).splitlines()[0]}): undo pruning and weight norms first, "
            "with torch.nn.utils.prune.remove or remove_weight_norm"
        ) from None


def graph_signature(graph: fx.Graph) -> str:
    """A hash of what an fx graph computes: what each node calls, and its arguments. Names of nodes do not count."""
    places = {node: i for i, node in enumerate(graph.nodes)}

    def plain(value: object) -> object:
        if isinstance(value, list | tuple):
            return [plain(v) for v in cast(Iterable[object], value)]
        return places[value] if isinstance(value, fx.Node) else repr(value)

    digest = hashlib.sha256()
    for node in graph.nodes:
        target = "" if node.op == "placeholder" else node.target
        digest.update(f"{node.op} {target} {plain(node.args)} {plain([*node.kwargs.items()])}\n".encode())
    return digest.hexdigest()
