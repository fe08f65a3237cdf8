"""The parts of a net that the setting ``freeze`` names."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.nn.modules.batchnorm import _NormBase  # pyright: ignore[reportPrivateUsage]

from fractal_dsl.graph.graph import Join, JoinGraph, Layer, Node, Tag
from fractal_dsl.runtime.module import FractalModule


def tags_of(node: Node) -> tuple[Tag, ...]:
    """The tags of a layer or a join; none for other nodes."""
    return node.site.tags if isinstance(node, Layer | Join) else ()


def frozen_modules(graph: JoinGraph, names: Iterable[str]) -> set[str]:
    """The modules of layers and joins inside a tag of these names, or at or below a module of these names.

    A shared block is frozen everywhere if one of its uses is.
    """
    modules: set[str] = set()
    for _, node in graph.items():
        if isinstance(node, Layer | Join) and node.module:
            tags = {tag.text for tag in tags_of(node)}
            if any(name in tags or f"{node.module}.".startswith(f"{name}.") for name in names):
                modules.add(node.module)
    return modules


def frozen_parts(model: FractalModule, names: Iterable[str]) -> list[nn.Module]:
    """The frozen modules of a net. A name may be missing: a single column lacks parts of its net."""
    names = list(names)
    ours = model.modules_now().modules if names else {}
    return [ours[name] for name in sorted(frozen_modules(model.join_graph, names) & ours.keys())]


def frozen_norms(model: FractalModule, names: Iterable[str]) -> list[nn.Module]:
    """The norms of frozen parts that have running statistics, which must not change."""
    inner = (module for part in frozen_parts(model, names) for module in part.modules())
    return [module for module in inner if isinstance(module, _NormBase) and module.running_mean is not None]
