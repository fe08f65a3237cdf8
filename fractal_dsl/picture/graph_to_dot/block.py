"""A single block of a net: the middle of the paper's figure 1."""

from __future__ import annotations

from fractal_dsl.base.errors import UserError
from fractal_dsl.ops import Tensor
from fractal_dsl.picture.graph_to_dot.sizes import into, out
from fractal_dsl.picture.graph_to_dot.tree import Frame, Item, Leaf, Parallel, Series, leaves
from fractal_dsl.picture.graph_to_dot.units import Unit, shape_text

_INPUT, _OUTPUT = -1, -2


def block_of(tree: Series, number: int, net: str) -> Series:
    """The block with a number, from 1, between its input and its output.

    Raises UserError if there is none.
    """
    frame = _find(tree, number)
    if frame is None:
        count = sum(1 for leaf in leaves(tree) for kind, _ in leaf.unit.frames if kind == "block") and _last(tree)
        has = f"blocks 1 to {count}" if count else "no blocks, since it uses no rule"
        raise UserError(f"there is no block {number}: net {net} has {has}")
    title = frame.title.partition(" · ")[2] or frame.title
    start = _end("input", "z", into(frame), _INPUT)
    end = _end("output", f"{title}(z)", out(frame), _OUTPUT)
    return Series((start, *frame.body.items, end))


def _end(kind: str, label: str, tensor: Tensor | None, number: int) -> Leaf:
    assert kind == "input" or kind == "output"
    text = f"{label}\n{shape_text(tensor)}" if tensor else label
    return Leaf(number, Unit(kind, text, kind, (), kind, None, tensor))


def _last(tree: Series) -> int:
    return max(number for leaf in leaves(tree) for kind, number in leaf.unit.frames if kind == "block")


def _find(item: Item | Series, number: int) -> Frame | None:
    match item:
        case Leaf():
            return None
        case Frame() if item.key == ("block", number):
            return item
        case Frame():
            return _find(item.body, number)
        case Parallel():
            return next((frame for b in item.branches if (frame := _find(b, number))), None)
        case Series():
            return next((frame for i in item.items if (frame := _find(i, number))), None)
