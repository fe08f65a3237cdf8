"""The lines of a picture that have no place in its tree: each runs down beside everything that it passes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from fractal_dsl.picture.graph_to_dot.placed import Connector, Coordinates, Placed, Rect
from fractal_dsl.picture.graph_to_dot.series_parallel import Crossings
from fractal_dsl.picture.graph_to_dot.tree import Series, leaves

_BESIDE, _NEXT = 8.0, 6.0  # from what a line passes to the line, and between two lines
_TURN, _CORNER = 8.0, 9.0  # where a line turns below or above a unit, and how far from the unit's side it leaves


def with_crossings(placed: Placed, tree: Series, crossings: Crossings) -> Placed:
    """A layout with the lines around its tree, and without those between neighbours that are not connected."""
    if not (crossings.lines or crossings.apart):
        return placed
    owner = {node: leaf.number for leaf in leaves(tree) for node in leaf.unit.members}
    apart = {(owner.get(source), owner.get(target)) for source, target in crossings.apart}
    kept = [i for i, edge in enumerate(placed.edges) if (edge.source, edge.target) not in apart]
    placed.entering = {new: placed.entering[old] for new, old in enumerate(kept) if old in placed.entering}
    placed.edges = [placed.edges[i] for i in kept]
    drawn: dict[tuple[int, int], set[int]] = defaultdict(set)
    for line in crossings.lines:
        source, target = owner.get(line.source), owner.get(line.target)
        if source is not None and target is not None and source != target:
            drawn[source, target].update(line.through)
    strips = [{leaf.number for leaf in leaves(part)} for part in placed.parts]
    for (source, target), through in sorted(drawn.items(), key=lambda item: item[0][1] - item[0][0]):
        strip = next((s for s in strips if source in s and target in s), placed.units.keys())
        points = _around(placed, source, target, [placed.units[number] for number in strip])
        placed.edges.append(Connector(source, target, points, tuple(sorted(through))))
    return placed


def _around(placed: Placed, source: int, target: int, units: list[Rect]) -> tuple[Coordinates, ...]:
    """A line from one unit to another, beside the units and frames between, that crosses as few of them as possible."""
    start, end = placed.units[source], placed.units[target]
    left, right = min(r.left for r in units), max(r.right for r in units)
    frames = [r for r, _ in placed.frames.values() if left <= r.middle <= right and not (_in(start, r) and _in(end, r))]
    upright = [pair for edge in placed.edges for pair in pairwise(edge.points) if pair[0][0] == pair[1][0]]
    others = [r for r in units if r not in (start, end)]
    away = {one: [r for r in frames if not _in(one, r)] for one in (start, end)}
    best: tuple[tuple[int, int], tuple[Coordinates, ...]] | None = None
    for rightward in (True, False):
        for begin in _leaving(start, rightward, frames):
            for stop in _leaving(end, rightward, frames, upwards=True):
                x = _channel((*units, *frames), upright, begin[-1], stop[-1], rightward)
                ways = ((start, begin), (end, stop))
                hit = sum(any(_hits(r, way[-1], x) or _crosses(r, way) for _, way in ways) for r in others)
                framed = sum(_hits(r, way[-1], x) for one, way in ways for r in away[one])
                crossed = hit, framed
                if best is None or crossed < best[0]:
                    best = crossed, (*begin, (x, begin[-1][1]), (x, stop[-1][1]), *reversed(stop))
    assert best is not None
    return best[1]


def _leaving(
    unit: Rect, rightward: bool, frames: Sequence[Rect], *, upwards: bool = False
) -> list[tuple[Coordinates, ...]]:
    """The ways out of a unit, up to where the line turns: from its side, or from its bottom or top, where it turns at
    once or beyond all frames."""
    side = unit.right if rightward else unit.left
    inner = side + (-_CORNER if rightward else _CORNER)
    if upwards:
        edge, turns = unit.top, [unit.top - _TURN, min([unit.top, *[r.top for r in frames]]) - _TURN]
    else:
        edge, turns = unit.bottom, [unit.bottom + _TURN, max([unit.bottom, *[r.bottom for r in frames]]) + _TURN]
    return [((side, (unit.top + unit.bottom) / 2),), *[((inner, edge), (inner, turn)) for turn in dict.fromkeys(turns)]]


def _channel(
    passed: Sequence[Rect],
    upright: Sequence[tuple[Coordinates, Coordinates]],
    a: Coordinates,
    b: Coordinates,
    rightward: bool,
) -> float:
    """The x of a line from the height of ``a`` to that of ``b`` beside what it passes, apart from other such lines. One
    that passes nothing is beside ``a`` and ``b``."""
    high, low, sign = min(a[1], b[1]), max(a[1], b[1]), 1 if rightward else -1
    edges = [r.right if rightward else -r.left for r in passed if r.top <= low and r.bottom >= high]
    x = max(edges, default=max(sign * a[0], sign * b[0])) + _BESIDE
    for other in sorted({sign * p[0] for p, q in upright if min(p[1], q[1]) <= low and max(p[1], q[1]) >= high}):
        if abs(x - other) < _NEXT:
            x = other + _NEXT
    return sign * x


def _hits(unit: Rect, at: Coordinates, x: float) -> bool:
    """Whether a level line from a point to ``x`` crosses a unit."""
    return unit.top < at[1] < unit.bottom and unit.left < max(at[0], x) and unit.right > min(at[0], x)


def _crosses(unit: Rect, way: tuple[Coordinates, ...]) -> bool:
    """Whether the first, upright part of a way out crosses a unit."""
    heights = [y for _, y in way]
    return unit.left < way[0][0] < unit.right and unit.top < max(heights) and unit.bottom > min(heights)


def _in(unit: Rect, frame: Rect) -> bool:
    return frame.left <= unit.left and unit.right <= frame.right and frame.top <= unit.top <= frame.bottom
