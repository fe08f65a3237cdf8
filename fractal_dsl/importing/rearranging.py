"""Functions of torch that rearrange axes, as views, and those that take a part of an axis."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Any

import torch

from fractal_dsl.importing.building import Builder, Expanded, Held, Ref
from fractal_dsl.importing.constants import pairs_of
from fractal_dsl.importing.functions import moves
from fractal_dsl.importing.refusal import Refusal
from fractal_dsl.importing.views import (
    View,
    folded_view,
    has_batch,
    permuted,
    plain,
    regrouped,
    reshaped,
    settled,
    simple,
    view_of,
)


@moves("permute")
def _permute(b: Builder, x: Any, *dims: Any) -> Any:
    given = dims[0] if isinstance(dims[0], list | tuple) else dims
    axes = [d + x.rank if d < 0 else d for d in given]
    if isinstance(x, Ref) and axes[0] == 0:
        return permuted(b, x, axes[1:])
    view = view_of(x)
    return simple(b, View(view.ref, tuple([view.axes[a] for a in axes])))


@moves("transpose", "swapaxes")
def _transpose(b: Builder, x: Any, dim0: int, dim1: int) -> Any:
    axes = list(range(x.rank))
    axes[dim0], axes[dim1] = axes[dim1], axes[dim0]
    return _permute(b, x, axes)


@moves("t", "mT", "adjoint")
def _turned(b: Builder, x: Any) -> Any:
    return _transpose(b, x, -2, -1)


@moves("view", "reshape", "_unsafe_view")
def _view(b: Builder, x: Any, *shape: Any, **named: Any) -> Any:
    given = [int(s) for s in (shape[0] if shape and isinstance(shape[0], list | tuple) else shape)]
    total = prod(view_of(x).shape(b.batch))
    known = prod(s for s in given if s != -1)
    wanted = [total // known if s == -1 else s for s in given]
    if wanted[:1] == [b.batch] and view_of(x).axes[:1] == ((0,),):
        return reshaped(b, plain(b, x), wanted[1:])
    view = regrouped(b, x, wanted)
    if view is None:
        raise Refusal(f"a reshape to {wanted} mixes numbers of several examples, or has no counterpart", b.place)
    return simple(b, view)


@moves("reshape_as", "view_as")
def _view_as(b: Builder, x: Any, other: Any) -> Any:
    return _view(b, x, view_of(other).shape(b.batch))


@moves("flatten")
def _flatten(b: Builder, x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    start, end = (d + x.rank if d < 0 else d for d in (start_dim, end_dim))
    if start == end:
        return x
    view = view_of(x)
    merged = tuple([a for axis in view.axes[start : end + 1] for a in axis])
    return simple(b, View(view.ref, (*view.axes[:start], merged, *view.axes[end + 1 :])))


@moves("expand", "broadcast_to")
def _expand(b: Builder, x: Any, *sizes: Any, **named: Any) -> Any:
    """Along the batch, a tensor without it gets it. Other axes of size 1 are repeated by what reads them."""
    given = [*sizes[0]] if sizes and isinstance(sizes[0], list | tuple) else [*sizes]
    view = view_of(x)
    axes = ((),) * (len(given) - x.rank) + view.axes
    before = [1] * (len(given) - x.rank) + [*view.shape(b.batch)]
    grown = [i for i, (size, old) in enumerate(zip(given, before, strict=True)) if size not in (-1, old)]
    if not grown:
        return simple(b, View(view.ref, axes))
    if grown == [0] and given[0] == b.batch and axes[0] == () and not has_batch(view):
        return simple(b, View(view.ref, ((0,), *axes[1:])))
    if isinstance(x, Ref) and len(given) == x.rank:
        return Expanded(x)
    raise Refusal(f"expanding to {given} has no counterpart in the language", b.place)


@moves("repeat", "tile")
def _repeat(b: Builder, x: Any, *counts: Any) -> Any:
    """Copies along axes are concatenated. ``tile`` may have counts for the last axes only."""
    given = [*counts[0]] if counts and isinstance(counts[0], list | tuple) else [*counts]
    given = [1] * (x.rank - len(given)) + given
    if len(given) == x.rank and all(n == 1 for n in given[1:]):
        return _expand(b, x, given[0] * view_of(x).shape(b.batch)[0], *[-1] * (len(given) - 1))
    ref, folded = settled(b, view_of(x))
    if len(given) != x.rank or folded > 0 or (folded == 0 and given[0] != 1):
        raise Refusal(f"repeating by {given} has no counterpart in the language", b.place)
    for axis, count in enumerate(given, 1 if folded < 0 else 0):
        ref = b.join("concat", [ref] * count, dim=axis)
    return folded_view(ref, folded)


def gathered(b: Builder, view: View, given: list[Any]) -> View:
    """The rows of a table that a constant index names: those of the pairs of pixels in a window."""
    at = next(i for i, part in enumerate(given) if isinstance(part, Held))
    others = [i for i, part in enumerate(given) if i != at and part not in (slice(None), None)]
    index = given[at].value
    args = pairs_of(index, view.shape(b.batch)[at]) if not has_batch(view) and not others else None
    if args is None or None in given or index.dtype != torch.int64:
        raise Refusal("this index of a tensor has no counterpart in the language", b.place)
    rest = [axis for i, axis in enumerate(view.axes) if i != at]
    order = [*view.axes[at], *[a for axis in rest for a in axis]]
    sizes = [prod(view.ref.out.shape[a - 1] for a in axis) for axis in (view.axes[at], *rest)]
    table = reshaped(b, permuted(b, view.ref, order), [sizes[0], prod(sizes[1:])])
    ref = b.layer("pairs", table, {}, **args)
    ref = reshaped(b, ref, [*ref.out.shape[:2], *sizes[1:]]) if len(sizes) != 2 else ref
    axes = [(i,) for i in range(3, ref.rank)]
    return View(ref, (*axes[:at], *([(1, 2)] if index.dim() == 1 else [(1,), (2,)]), *axes[at:]))


@moves("index")
def _index(b: Builder, x: Any, indices: Any) -> Any:
    return _getitem(b, x, tuple([slice(None) if i is None else i for i in indices]))


@moves("squeeze")
def _squeeze(b: Builder, x: Any, dim: Any = None) -> Any:
    dims = range(1, x.rank) if dim is None else [dim] if isinstance(dim, int) else dim
    axes = {d + x.rank if d < 0 else d for d in dims}
    sizes = view_of(x).shape(b.batch)
    return _view(b, x, [n for i, n in enumerate(sizes) if i not in axes or n != 1])


@moves("unsqueeze")
def _unsqueeze(b: Builder, x: Any, dim: int) -> Any:
    axis = dim + x.rank + 1 if dim < 0 else dim
    view = view_of(x)
    return simple(b, View(view.ref, (*view.axes[:axis], (), *view.axes[axis:])))


@moves("unflatten")
def _unflatten(b: Builder, x: Any, dim: int, sizes: Any) -> Any:
    whole = list(view_of(x).shape(b.batch))
    axis = dim % len(whole)
    inner = [int(s) for s in sizes]
    known = prod(s for s in inner if s != -1)
    return _view(b, x, [*whole[:axis], *[whole[axis] // known if s == -1 else s for s in inner], *whole[axis + 1 :]])


@moves("getitem")
def _getitem(b: Builder, x: Any, index: Any) -> Any:
    if isinstance(x, list | tuple | dict):
        return x[index]
    given = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in given:
        at, axes = given.index(Ellipsis), sum(part is not None for part in given) - 1
        given[at : at + 1] = [slice(None)] * (x.rank - axes)
    if isinstance(x, Ref) and x.rank == 3 and given in ([slice(None), -1], [slice(None), -1, slice(None)]):
        return b.layer("last_step", x)
    if any(isinstance(part, Held) for part in given):
        return gathered(b, view_of(x), given)
    view, kept, dropped, axis = view_of(x), list[tuple[int, ...]](), set[int](), 0
    for part in given:
        if part is None:
            kept.append(())
            continue
        group = view.axes[axis]
        axis += 1
        if part == slice(None):
            kept.append(group)
            continue
        view = _part(b, view, group, part, index)
        if isinstance(part, int):
            dropped |= {*group}
        else:
            kept.append(group)
    return _without(b, View(view.ref, (*kept, *view.axes[axis:])), dropped)


def _part(b: Builder, view: View, group: tuple[int, ...], part: Any, index: Any) -> View:
    """A view with an index or a slice of one of its axes. Raises Refusal."""
    alone = len(group) == 1 and group != (0,)
    ref = view.ref
    if group == () and part in (0, -1):
        return view
    if alone and isinstance(part, int) and not isinstance(part, bool):
        start = part % ref.out.shape[group[0] - 1]
        return View(sliced(b, ref, group[0], start, start + 1), view.axes)
    if alone and isinstance(part, slice):
        start, stop, step = part.indices(ref.out.shape[group[0] - 1])
        if step > 0:
            return View(sliced(b, ref, group[0], start, stop, step), view.axes)
    raise Refusal(f"the index {index} has no counterpart in the language", b.place)


def _without(b: Builder, view: View, dropped: set[int]) -> Ref | View:
    """A view without axes of size 1 of its step."""
    rest = [a for a in range(1, view.ref.rank) if a not in dropped]
    new = {0: 0} | {a: i for i, a in enumerate(rest, 1)}
    ref = reshaped(b, view.ref, [view.ref.out.shape[a - 1] for a in rest])
    return simple(b, View(ref, tuple([tuple([new[a] for a in axis]) for axis in view.axes])))


def sliced(b: Builder, x: Ref, axis: int, start: int, stop: int, step: int = 1) -> Ref:
    """A part of an axis of a step."""
    whole = x.out.shape[axis - 1]
    if (start, stop, step) == (0, whole, 1):
        return x
    return b.layer("slice", x, dim=axis, start=start, stop=None if stop == whole else stop, step=step)


@moves("chunk")
def _chunk(b: Builder, x: Any, chunks: int, dim: int = 0) -> Any:
    return _split(b, x, -(-_size(b, x, dim) // chunks), dim)


@moves("tensor_split")
def _tensor_split(b: Builder, x: Any, places: Any, dim: int = 0) -> Any:
    """Parts that begin at some places, or as many parts as a number says. The first ones may be longer by one."""
    total = _size(b, x, dim)
    if isinstance(places, int):
        each, longer = divmod(total, places)
        return _split(b, x, [each + (i < longer) for i in range(places)], dim)
    bounds = [0, *places, total]
    return _split(b, x, [end - start for start, end in pairwise(bounds)], dim)


@moves("split", "split_with_sizes")
def _split(b: Builder, x: Any, sizes: Any, dim: int = 0) -> Any:
    total, parts, start = _size(b, x, dim), [], 0
    for size in [sizes] * -(-total // sizes) if isinstance(sizes, int) else sizes:
        parts.append(_getitem(b, x, _at(x, dim, slice(start, min(start + size, total)))))
        start += size
    return tuple(parts)


@moves("unbind")
def _unbind(b: Builder, x: Any, dim: int = 0) -> Any:
    return tuple([_getitem(b, x, _at(x, dim, i)) for i in range(_size(b, x, dim))])


@moves("narrow")
def _narrow(b: Builder, x: Any, dim: int, start: int, length: int) -> Any:
    return _getitem(b, x, _at(x, dim, slice(start, start + length)))


@moves("slice")
def _slice(b: Builder, x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    return _getitem(b, x, _at(x, dim, slice(start, end, step)))


@moves("select")
def _select(b: Builder, x: Any, dim: int, index: int) -> Any:
    return _getitem(b, x, _at(x, dim, index))


def _size(b: Builder, x: Any, dim: int) -> int:
    return view_of(x).shape(b.batch)[dim]


def _at(x: Any, dim: int, part: Any) -> Any:
    return (*[slice(None)] * (dim % x.rank), part)
