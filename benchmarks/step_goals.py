"""The ratios that the benchmark of training steps prints, and the only table of their goals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from step_parts import FIRST, LAST, LOW, Arena

WHOLE = {"deep, C = 4": 0.85, "deep, C = 6": 0.95, "FractalNet-20": 0.97}
"""A step without drop-path in our layout / a naive one with channels first, by net."""
SAME_LAYOUT = 0.97
"""A step without drop-path / a naive one in the same layout."""
COLUMN = 1.02
"""A column / the same layers by hand in the same layout."""
ABOVE_FLOOR = 0.02
"""Local drop-path / no drop-path, above the ratio of multiply-accumulates."""
MIXED = 0.95
"""Mixed drop-path / a sparse naive net in the same layout."""
MEMORY = 0.75
"""The peak memory of a step without drop-path / a naive one in the same layout."""
INFERENCE = {1: 0.60, 32: 0.90}
"""A fused column of FractalNet-20 with channels last / a plain one with channels first, by batch."""


@dataclass(frozen=True)
class Goal:
    """A ratio of two contestants, and the most that it may be. Without ``most``, it has no goal."""

    title: str
    top: str
    bottom: str
    most: float | None = None


def goals(arena: Arena, part: str, rounds: int) -> Iterator[Goal]:
    """The ratios of a part."""
    match part:
        case "whole":
            yield from _whole(arena, rounds)
        case "columns":
            yield from _columns(arena)
        case "mixed":
            ours = f"ours, {LAST}: mixed"
            yield Goal("mixed / sparse naive", ours, f"sparse naive, {LAST}: mixed", MIXED)
            yield Goal("mixed / dense naive", ours, f"sparse naive, {LAST}: local")
            yield Goal("mixed / pytorchcv", ours, f"pytorchcv, {LAST}: mixed")
        case "bf16":
            for work, most in (("none", SAME_LAYOUT), ("mixed", MIXED)):
                yield Goal(f"{work} / sparse naive, bf16", f"ours, {LOW}: {work}", f"sparse naive, {LOW}: {work}", most)
        case "compiled":
            for work in ("none", *[f"column {k}" for k in arena.ks]):
                yield Goal(f"{work}, compiled / eager", f"ours compiled, {LAST}: {work}", f"ours, {LAST}: {work}")
        case "together":
            both = f"ours, {LAST}: local and columns, "
            yield Goal("local and columns, at once / one by one", f"{both}at once", f"{both}one by one")
        case "inference":
            yield from _inference(arena)
        case "memory":
            for layout in (FIRST, LAST):
                top, bottom = (f"{which}, {layout}: memory" for which in ("ours", "naive"))
                yield Goal(f"peak memory / naive, {layout}", top, bottom, MEMORY)


def _whole(arena: Arena, rounds: int) -> Iterator[Goal]:
    most = next((goal for title, goal in WHOLE.items() if arena.net.title.startswith(title)), None)
    yield Goal("none, channels-last / naive, float32", f"ours, {LAST}: none", f"naive, {FIRST}: none", most)
    for layout in (FIRST, LAST):
        yield Goal(f"none / naive, {layout}", f"ours, {layout}: none", f"naive, {layout}: none", SAME_LAYOUT)
    floor = sum(arena.floor(arena.local(n)) for n in range(rounds)) / rounds
    for layout in (FIRST, LAST):
        title = f"local / none, {layout} (floor {floor:.3f})"
        yield Goal(title, f"ours, {layout}: local", f"ours, {layout}: none", floor + ABOVE_FLOOR)
    after = f"pooling after joins, {LAST}: none"
    yield Goal("none / naive, pooling after joins", f"ours, {after}", f"naive, {after}")
    for layout in (FIRST, LAST):
        yield Goal(f"none / pytorchcv, {layout}", f"ours, {layout}: none", f"pytorchcv, {layout}: none")


def _columns(arena: Arena) -> Iterator[Goal]:
    for layout in (FIRST, LAST):
        for k in arena.ks:
            top, bottom = (f"{which}, {layout}: column {k}" for which in ("ours", "plain"))
            yield Goal(f"column {k} / plain, {layout}", top, bottom, COLUMN)
    for k in arena.ks:
        title = f"column {k} / none, {LAST} (floor {arena.floor(arena.reference.column_plan(k)):.3f})"
        yield Goal(title, f"ours, {LAST}: column {k}", f"ours, {LAST}: none")


def _inference(arena: Arena) -> Iterator[Goal]:
    for batch, most in INFERENCE.items():
        for k in arena.ks:
            top, bottom = f"fused, {LAST}, batch {batch}: column {k}", f"plain, {FIRST}, batch {batch}: column {k}"
            wide = arena.net.title.startswith("FractalNet-20")
            yield Goal(f"fused column {k} / plain, batch {batch}", top, bottom, most if wide else None)
