"""The data with which a page's script folds a picture and greys out what a plan drops.

Coordinates are those of the SVG that Graphviz paints: points, y downwards from minus the picture's height.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fractal_dsl.picture.graph_to_dot.placed import Coordinates, Placed, Rect
from fractal_dsl.picture.graph_to_dot.tree import Frame, Item, Leaf, Parallel, Series

Id = Mapping[int, str]


def page_data(placed: Placed, ids: Id, bottom: float, plans: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The tree of a picture with the places of its frames and lines, and what each plan drops.

    An item ``below`` another moves up when that one is closed; an item ``beside`` it does not.

    ``ids`` maps each unit to its name in the DOT text. ``bottom`` is the y of the picture's lower edge, in points.
    """

    def point(at: Coordinates) -> list[float]:
        return [round(at[0], 2), round(at[1] - bottom, 2)]

    return {
        "tree": {"beside": [_item(part, placed, ids, bottom) for part in placed.parts]},
        "edges": [
            {"from": ids[edge.source], "to": ids[edge.target], "points": [point(at) for at in edge.points]}
            for edge in placed.edges
        ],
        "plans": list(plans),
    }


def _item(item: Item | Series, placed: Placed, ids: Id, bottom: float) -> dict[str, Any]:
    match item:
        case Leaf():
            return {"node": ids[item.number]}
        case Parallel():
            return {"beside": [_item(branch, placed, ids, bottom) for branch in item.branches]}
        case Frame():
            kind, number = item.key
            rect, _ = placed.frames[item.key]
            body = _item(item.body, placed, ids, bottom)
            return {"frame": f"cluster_{kind}{number}", "title": item.title, "rect": _rect(rect, bottom), "body": body}
        case Series():
            below = "below" if placed.movable else "beside"
            return {below: [_item(inner, placed, ids, bottom) for inner in item.items]}


def _rect(rect: Rect, bottom: float) -> list[float]:
    return [round(x, 2) for x in (rect.left, rect.top - bottom, rect.right - rect.left, rect.bottom - rect.top)]
