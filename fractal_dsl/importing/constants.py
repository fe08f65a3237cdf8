"""Constants that layers of the language give: the distances between pixels of a window."""

from __future__ import annotations

from math import isqrt, prod

import torch

from fractal_dsl.importing.building import Builder
from fractal_dsl.importing.views import View
from fractal_dsl.runtime.distances import Distances, Pairs


def recognised(b: Builder, value: torch.Tensor) -> View | None:
    """The layer that gives a constant, from any input; None if there is none."""
    sizes = [*value.shape]
    while sizes[:1] == [1]:
        sizes = sizes[1:]
    ones: tuple[tuple[int, ...], ...] = ((),) * (value.dim() - len(sizes))
    if sizes[-1:] != [2] or len(sizes) not in (2, 3) or not value.is_floating_point():
        return None
    flat = len(sizes) == 2
    side = isqrt(sizes[0])
    rows, columns = (side, side) if flat else sizes[:2]
    if rows * columns * 2 != value.numel() or not rows % 2 or not columns % 2 or rows * columns == 1:
        return None
    args = _distances(value.reshape(rows, columns, 2))
    if args is None:
        return None
    ref = b.layer("distances", b.input, {}, **args)
    return View(ref, (*ones, (1, 2), (3,)) if flat else (*ones, (1,), (2,), (3,)))


def _distances(value: torch.Tensor) -> dict[str, int | str | tuple[int, ...] | None] | None:
    """The arguments of ``distances`` that give a table."""
    window = (value.shape[0] // 2 + 1, value.shape[1] // 2 + 1)
    largest = [float(value[-1, 0, 0]), float(value[0, -1, 1])]
    extents: list[int] = []
    for size, most in zip(window, largest, strict=True):  # log8(1 + 8 d / extent) is the largest
        extents.append(max(1, round(8 * (size - 1) / (8.0**most - 1))) if size > 1 and 0 < most < 9 else 1)
    extent = (extents[0], extents[1])
    for scale, given in (("linear", None), ("log", None), ("log8", None), ("log8", extent)):
        made = Distances(window, scale, given)(value[None])[0]
        if torch.allclose(made, value, rtol=1e-6, atol=1e-6):
            return {"window_size": _short(window), "scale": scale, "extent": None if given is None else _short(given)}
    return None


def _short(sizes: tuple[int, ...]) -> int | tuple[int, ...]:
    return sizes[0] if len({*sizes}) == 1 else sizes


def pairs_of(index: torch.Tensor, rows: int) -> dict[str, int | bool | tuple[int, ...]] | None:
    """The arguments of ``pairs`` that look up what an index does, [queries, keys] or flat, in a table of ``rows``."""
    side = isqrt(index.numel())
    if index.dim() == 1 and side**2 != index.numel():
        return None
    shape = (side, side) if index.dim() == 1 else tuple(index.shape)
    if len(shape) != 2:
        return None
    queries, keys = shape
    for token in (False, True):
        pixels = keys - token
        for height in [h for h in range(1, pixels + 1) if pixels % h == 0]:
            window = (height, pixels // height)
            for absolute in (False, True):
                args = _pairs_in(window, rows, queries - token, absolute=absolute, token=token)
                if args is None:
                    continue
                module = Pairs(window, absolute, int(args["stride"]), token)
                if torch.equal(module.places(torch.zeros(1)), index.reshape(shape)):
                    return {**args, "window_size": _short(window)}
    return None


def _pairs_in(
    window: tuple[int, int], rows: int, queries: int, *, absolute: bool, token: bool
) -> dict[str, int | bool] | None:
    """The other arguments of ``pairs`` for a window and numbers of rows and queries."""
    height, width = window
    table = prod(window) if absolute else (2 * height - 1) * (2 * width - 1) + 3 * token
    if table != rows or (absolute and token):
        return None
    strides = range(1, max(window) + 1) if absolute else (1,)
    stride = next((s for s in strides if -(-height // s) * -(-width // s) == queries), None)
    return None if stride is None else {"absolute": absolute, "stride": stride, "class_token": token}
