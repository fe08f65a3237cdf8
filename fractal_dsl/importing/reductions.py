"""Means and sums over axes as layers, and over tensors that are stacked as joins."""

from __future__ import annotations

from math import prod
from typing import Any

from fractal_dsl.importing.building import Builder, Ref, Stacked
from fractal_dsl.importing.functions import lowers, no
from fractal_dsl.importing.views import permuted, reshaped


@lowers("mean")
def _mean(b: Builder, x: Any, dim: Any = None, keepdim: bool = False, **named: Any) -> Any:
    if isinstance(x, Stacked):
        return b.join("mean", x.items) if dim in (x.dim, [x.dim], (x.dim,)) else no(b, "this mean")
    axes = _axes(x, dim)
    if axes == [1] and x.rank == 3 and not keepdim:
        return b.layer("sequence_mean", x)
    if axes == [1, 2] and x.rank == 4 and not keepdim:
        return b.layer("global_avgpool", b.layer("permute", x, dims=(3, 1, 2)))
    if axes == list(range(2, x.rank)) and x.rank < 6:
        return b.layer(f"adaptiveavgpool{x.rank - 2}d", x, output_size=1) if keepdim else b.layer("global_avgpool", x)
    return _averaged(b, x, axes, keepdim)


@lowers("sum")
def _sum(b: Builder, x: Any, dim: Any = None, keepdim: bool = False, **named: Any) -> Any:
    if isinstance(x, Stacked):
        return b.join("sum", x.items) if dim in (x.dim, [x.dim], (x.dim,)) else no(b, "this sum")
    axes = _axes(x, dim)
    count = prod(x.out.shape[axis - 1] for axis in axes)
    return b.layer("times", _averaged(b, x, axes, keepdim), factor=float(count))


@lowers("amax")
def _largest(b: Builder, x: Any, dim: Any = None, *rest: Any, **named: Any) -> Any:
    stacked = isinstance(x, Stacked) and dim in (x.dim, [x.dim], (x.dim,))
    return b.join("max", x.items) if stacked else no(b, "the maximum over an axis")


def _axes(x: Ref, dim: Any) -> list[int]:
    given = [dim] if isinstance(dim, int) else dim or ()
    return sorted(d + x.rank if d < 0 else d for d in given)


def _averaged(b: Builder, x: Ref, axes: list[int], keepdim: bool) -> Any:
    """The mean over some axes: they become the positions of a sequence, and the others its features."""
    others = [axis for axis in range(1, x.rank) if axis not in axes]
    if not axes or 0 in axes or not others or x.out.dtype != "f32":
        return no(b, f"a reduction over the axes {axes}")
    sizes = dict(enumerate(x.out.shape, 1))
    turned = permuted(b, x, [*axes, *others])
    rows = reshaped(b, turned, [prod(sizes[a] for a in axes), prod(sizes[a] for a in others)])
    kept = [sizes[a] if a in others else 1 for a in sizes] if keepdim else [sizes[a] for a in others]
    return reshaped(b, b.layer("sequence_mean", rows), kept)
