"""Functions of torch that move numbers along axes, as layers: padding, rolling, shuffling."""

from __future__ import annotations

from typing import Any

from fractal_dsl.importing.building import Builder, Padded, Ref
from fractal_dsl.importing.functions import lowers, trailing
from fractal_dsl.importing.refusal import Refusal
from fractal_dsl.importing.views import reshaped


@trailing("pad")
def _pad(b: Builder, x: Any, pad: Any, mode: str = "constant", value: Any = None) -> Ref | Padded:
    sides = [int(p) for p in pad]
    rank = x.rank - 2
    if mode == "constant" and value == float("-inf") and len(sides) == 2 * rank and not any(sides[::2]):
        return Padded(x, tuple(sides[1::2][::-1])) if any(sides) else x
    if mode == "constant" and rank in (1, 2) and len(sides) == 2 * rank + 2 and any(sides[-2:]):  # channels, too
        deeper = _pad(b, reshaped(b, x, [1, *x.out.shape]), sides, mode, value)
        assert isinstance(deeper, Ref)
        return reshaped(b, deeper, deeper.out.shape[1:])
    if mode != "constant" or rank not in (1, 2, 3) or any(sides[2 * rank :]) or min(sides) < 0:
        raise Refusal(f"padding by {sides} with mode {mode!r} has no counterpart in the language", b.place)
    sides = (sides + [0] * 2 * rank)[: 2 * rank]
    if not any(sides):
        return x
    padding = sides[0] if len({*sides}) == 1 else tuple(sides)
    if value:
        return b.layer(f"constantpad{rank}d", x, padding=padding, value=float(value))
    return b.layer(f"zeropad{rank}d", x, padding=padding)


@lowers("roll")
def _roll(b: Builder, x: Any, shifts: Any, dims: Any) -> Ref:
    shifts, dims = [[v] if isinstance(v, int) else [*v] for v in (shifts, dims)]
    return b.layer("roll", x, shifts=tuple(shifts), dims=tuple(d % x.rank for d in dims))


@lowers("channel_shuffle")
def _channel_shuffle(b: Builder, x: Any, groups: int) -> Ref:
    return b.layer("channel_shuffle", x, groups=groups)


@lowers("pixel_shuffle")
def _pixel_shuffle(b: Builder, x: Any, upscale_factor: int) -> Ref:
    return b.layer("pixelshuffle", x, upscale_factor=upscale_factor)
