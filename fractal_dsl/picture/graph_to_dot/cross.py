"""The lines of a picture that have no place in its tree: each runs down beside everything that it passes."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from fractal_dsl.picture.graph_to_dot.placed import Connector, Coordinates, Placed, Rect
from fractal_dsl.picture.graph_to_dot.series_parallel import Crossings
from fractal_dsl.picture.graph_to_dot.tree import Series, leaves

_BESIDE, _NEXT = 8.0, 6.0  # from what a line passes to the line, and between two lines


def with_crossings(placed: Placed, tree: Series, crossings: Crossings) -> Placed:
    """A layout with the lines around its tree, and without those between neighbours that are not connected."""
    if not crossings.lines:
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
    """A line from the right side of one unit to the right side of another, beside the units and frames between."""
    start, end = placed.units[source], placed.units[target]
    first, last = (start.top + start.bottom) / 2, (end.top + end.bottom) / 2
    high, low = min(first, last), max(first, last)
    left, right = min(r.left for r in units), max(r.right for r in units)
    frames = [r for r, _ in placed.frames.values() if left <= r.middle <= right and not (_in(start, r) and _in(end, r))]
    x = max(r.right for r in (*units, *frames) if r.top <= low and r.bottom >= high) + _BESIDE
    upright = (pair for edge in placed.edges for pair in pairwise(edge.points) if pair[0][0] == pair[1][0])
    taken = {a[0] for a, b in upright if min(a[1], b[1]) <= low and max(a[1], b[1]) >= high}
    for other in sorted(taken):
        if abs(x - other) < _NEXT:
            x = other + _NEXT
    return (start.right, first), (x, first), (x, last), (end.right, last)


def _in(unit: Rect, frame: Rect) -> bool:
    return frame.left <= unit.left and unit.right <= frame.right and frame.top <= unit.top <= frame.bottom
