"""Constants that layers of the language give: the distances between pixels of a window."""

from __future__ import annotations

from math import isinf, isqrt, prod

import torch

from fractal_dsl.importing.building import Builder
from fractal_dsl.importing.views import View
from fractal_dsl.runtime.distances import Distances, Pairs, WindowMask


def recognised(b: Builder, value: torch.Tensor) -> View | None:
    """The layer that gives a constant, from any input; None if there is none."""
    mask = _mask_view(b, value)
    if mask is not None or not value.is_floating_point():
        return mask
    sizes = [*value.shape]
    while sizes[:1] == [1]:
        sizes = sizes[1:]
    ones: tuple[tuple[int, ...], ...] = ((),) * (value.dim() - len(sizes))
    if sizes[-1:] != [2] or len(sizes) not in (2, 3):
        return None
    flat = len(sizes) == 2
    side = isqrt(sizes[0])
    rows, columns = (side, side) if flat else sizes[:2]
    odd = rows * columns * 2 == value.numel() and rows % 2 and columns % 2 and rows * columns > 1
    args = _distances(value.reshape(rows, columns, 2)) if odd else None
    if args is None:
        return _of_pairs(b, value) if flat and not ones else None
    ref = b.layer("distances", b.start, {}, **args)
    return View(ref, (*ones, (1, 2), (3,)) if flat else (*ones, (1,), (2,), (3,)))


def _of_pairs(b: Builder, value: torch.Tensor) -> View | None:
    """The distances of all pairs of pixels of a window, one below the other."""
    pixels = isqrt(len(value))
    for window in _factors(pixels) if pixels**2 == len(value) else []:
        module, table = Pairs(window), (2 * window[0] - 1, 2 * window[1] - 1)
        places = module.places(torch.zeros(1)).flatten()
        rows = value.new_zeros(table[0] * table[1], 2).index_copy(0, places, value)
        args = _distances(rows.reshape(*table, 2))
        if args is not None and torch.equal(rows[places], value):
            ref = b.layer("flatten", b.layer("distances", b.start, {}, **args), start_dim=1, end_dim=2)
            ref = b.layer("pairs", ref, {}, window_size=_short(window))
            return View(ref, ((1, 2), (3,)))
    return None


def _factors(number: int) -> list[tuple[int, int]]:
    """All pairs of factors, the most square ones first."""
    pairs = [(n, number // n) for n in range(1, number + 1) if number % n == 0]
    return sorted(pairs, key=lambda pair: abs(pair[0] - pair[1]))


def _mask_view(b: Builder, value: torch.Tensor) -> View | None:
    """The mask of windows of an image whose pixels were moved."""
    sizes = [n for n in value.shape if n != 1]
    lowest = float(value.min()) if len(sizes) == 3 and sizes[1] == sizes[2] else 0.0
    if lowest == 0 or isinf(lowest) or not bool(((value == 0) | (value == lowest)).all()):
        return None
    hidden = value.reshape(sizes) != 0
    for window in _factors(sizes[1]):
        for grid in _factors(sizes[0]):
            image = (grid[0] * window[0], grid[1] * window[1])
            for shift in ((window[0] // 2, window[1] // 2), (window[0] // 2, 0), (0, window[1] // 2)):
                made = WindowMask(image, window, shift)(torch.zeros(1))[0]
                if any(shift) and torch.equal(made != 0, hidden):
                    args = {"image_size": _short(image), "window_size": _short(window), "shift_size": _short(shift)}
                    ref = b.layer("window_mask", b.start, {}, **args)
                    if lowest != -100:
                        ref = b.layer("times", ref, factor=lowest / -100)
                    numbers = iter((1, 2, 3))
                    return View(ref, tuple([(next(numbers),) if n != 1 else () for n in value.shape]))
    return None


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
