"""Functions of torch that rearrange numbers, as layers: flattening, permuting, slicing, padding."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from fractal_dsl.importing.building import Builder, Ref
from fractal_dsl.importing.functions import lowers
from fractal_dsl.importing.refusal import Refusal


@lowers("flatten")
def _flatten(b: Builder, x: Any, start_dim: int = 0, end_dim: int = -1) -> Ref:
    start, end = (d + x.rank if d < 0 else d for d in (start_dim, end_dim))
    if start == end:
        return x
    return b.layer("flatten", x, start_dim=start, end_dim=-1 if end == x.rank - 1 else end)


@lowers("view", "reshape", "_unsafe_view")
def _view(b: Builder, x: Any, *shape: Any, **named: Any) -> Ref:
    wanted = list(shape[0] if shape and isinstance(shape[0], list | tuple) else shape)
    before = x.out.shape
    after = _resolved(before, [int(s) for s in wanted[1:]])
    if after == before:
        return x
    for start in range(len(before)):
        for end in range(start + 1, len(before)):
            size = 1
            for n in before[start : end + 1]:
                size *= n
            if (*before[:start], size, *before[end + 1 :]) == after:
                return b.layer("flatten", x, start_dim=start + 1, end_dim=-1 if end == len(before) - 1 else end + 1)
    return b.layer("reshape", x, shape=after)


def _resolved(before: tuple[int, ...], after: list[int]) -> tuple[int, ...]:
    """A shape with -1 replaced."""
    total, known = 1, 1
    for n in before:
        total *= n
    for n in after:
        known *= n if n != -1 else 1
    return tuple([total // known if n == -1 else n for n in after])


@lowers("transpose", "swapaxes")
def _transpose(b: Builder, x: Any, dim0: int, dim1: int) -> Ref:
    first, second = sorted(d + x.rank if d < 0 else d for d in (dim0, dim1))
    return x if first == second else b.layer("transpose", x, dim0=first, dim1=second)


@lowers("permute")
def _permute(b: Builder, x: Any, *dims: Any) -> Ref:
    axes = [d + x.rank if d < 0 else d for d in (dims[0] if isinstance(dims[0], list | tuple) else dims)]
    moved = [i for i, d in enumerate(axes) if i != d]
    if not moved:
        return x
    if axes[0] != 0:
        raise Refusal(f"permuting the batch, as in {axes}, has no counterpart in the language", b.place)
    if len(moved) == 2:
        return b.layer("transpose", x, dim0=moved[0], dim1=moved[1])
    return b.layer("permute", x, dims=tuple(axes[1:]))


@lowers("pad")
def _pad(b: Builder, x: Any, pad: Any, mode: str = "constant", value: Any = None) -> Ref:
    sides = [int(p) for p in pad]
    rank = x.rank - 2
    if mode != "constant" or value or rank not in (1, 2, 3) or any(sides[2 * rank :]) or min(sides) < 0:
        raise Refusal(f"padding by {sides} with mode {mode!r} has no counterpart in the language", b.place)
    sides = (sides + [0] * 2 * rank)[: 2 * rank]
    if not any(sides):
        return x
    return b.layer(f"zeropad{rank}d", x, padding=sides[0] if len({*sides}) == 1 else tuple(sides))


@lowers("squeeze")
def _squeeze(b: Builder, x: Any, dim: Any = None) -> Ref:
    dims = range(1, x.rank) if dim is None else [dim] if isinstance(dim, int) else dim
    axes = {d + x.rank if d < 0 else d for d in dims}
    return _view(b, x, [0, *[n for i, n in enumerate(x.out.shape, 1) if i not in axes or n != 1]])


@lowers("unsqueeze")
def _unsqueeze(b: Builder, x: Any, dim: int) -> Ref:
    axis = dim + x.rank + 1 if dim < 0 else dim
    return _view(b, x, [0, *x.out.shape[: axis - 1], 1, *x.out.shape[axis - 1 :]])


@lowers("unflatten")
def _unflatten(b: Builder, x: Any, dim: int, sizes: Any) -> Ref:
    axis = _axis(b, x, dim)
    inner = _resolved(x.out.shape[axis - 1 : axis], [int(s) for s in sizes])
    return _view(b, x, [0, *x.out.shape[: axis - 1], *inner, *x.out.shape[axis:]])


@lowers("chunk")
def _chunk(b: Builder, x: Any, chunks: int, dim: int = 0) -> Any:
    axis = _axis(b, x, dim)
    size = -(-x.out.shape[axis - 1] // chunks)
    return _split(b, x, size, dim)


@lowers("tensor_split")
def _tensor_split(b: Builder, x: Any, places: Any, dim: int = 0) -> Any:
    """Parts that begin at some places, or as many parts as a number says. The first ones may be longer by one."""
    total = x.out.shape[_axis(b, x, dim) - 1]
    if isinstance(places, int):
        each, longer = divmod(total, places)
        return _split(b, x, [each + (i < longer) for i in range(places)], dim)
    bounds = [0, *places, total]
    return _split(b, x, [end - start for start, end in pairwise(bounds)], dim)


@lowers("split", "split_with_sizes")
def _split(b: Builder, x: Any, sizes: Any, dim: int = 0) -> Any:
    axis = _axis(b, x, dim)
    total, parts, start = x.out.shape[axis - 1], [], 0
    each = [sizes] * -(-total // sizes) if isinstance(sizes, int) else sizes
    for size in each:
        parts.append(_sliced(b, x, axis, start, min(start + size, total)))
        start += size
    return tuple(parts)


@lowers("narrow")
def _narrow(b: Builder, x: Any, dim: int, start: int, length: int) -> Ref:
    return _sliced(b, x, _axis(b, x, dim), start, start + length)


@lowers("slice")
def _slice(b: Builder, x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Ref:
    return _getitem(b, x, (*[slice(None)] * dim, slice(start, end, step)))


@lowers("select")
def _select(b: Builder, x: Any, dim: int, index: int) -> Ref:
    return _getitem(b, x, (*[slice(None)] * dim, index))


@lowers("roll")
def _roll(b: Builder, x: Any, shifts: Any, dims: Any) -> Ref:
    shifts, dims = [[v] if isinstance(v, int) else [*v] for v in (shifts, dims)]
    return b.layer("roll", x, shifts=tuple(shifts), dims=tuple(_axis(b, x, d) for d in dims))


@lowers("channel_shuffle")
def _channel_shuffle(b: Builder, x: Any, groups: int) -> Ref:
    return b.layer("channel_shuffle", x, groups=groups)


def _axis(b: Builder, x: Any, dim: int) -> int:
    axis = dim + x.rank if dim < 0 else dim
    if axis == 0:
        raise Refusal("splitting the batch has no counterpart in the language", b.place)
    return axis


def _sliced(b: Builder, x: Any, axis: int, start: int, stop: int) -> Ref:
    whole = x.out.shape[axis - 1]
    if (start, stop) == (0, whole):
        return x
    return b.layer("slice", x, dim=axis, start=start, stop=None if stop == whole else stop)


@lowers("getitem")
def _getitem(b: Builder, x: Any, index: Any) -> Any:
    if isinstance(x, list | tuple | dict):
        return x[index]
    given = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in given:
        at = given.index(Ellipsis)
        given[at : at + 1] = [slice(None)] * (x.rank - len(given) + 1)
    if x.rank == 3 and given in ([slice(None), -1], [slice(None), -1, slice(None)]):
        return b.layer("last_step", x)
    dropped: list[int] = []
    for axis, part in enumerate(given):
        if part == slice(None):
            continue
        size = x.out.shape[axis - 1] if axis else 0
        if isinstance(part, int) and axis and not isinstance(part, bool):
            start = part % size
            x = _sliced(b, x, axis, start, start + 1)
            dropped.append(axis)
        elif isinstance(part, slice) and axis and part.step in (None, 1):
            x = _sliced(b, x, axis, *part.indices(size)[:2])
        else:
            raise Refusal(f"the index {index} has no counterpart in the language", b.place)
    return _view(b, x, [0, *[n for i, n in enumerate(x.out.shape, 1) if i not in dropped]]) if dropped else x


@lowers("pixel_shuffle")
def _pixel_shuffle(b: Builder, x: Any, upscale_factor: int) -> Ref:
    return b.layer("pixelshuffle", x, upscale_factor=upscale_factor)
