"""The structure of a picture: a tree of items in sequence (``Series``) and side by side (``Parallel``)."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl.picture.graph_to_dot.units import FrameKey, Unit


class Leaf(Struct, frozen=True):
    """One unit, with its index in ``Units``."""

    number: int
    unit: Unit


class Parallel(Struct, frozen=True):
    """Branches side by side, from left to right. A join follows.

    ``lanes`` are the columns in each branch. It is empty if the join is not a rule's.
    """

    branches: tuple[Series, ...]
    lanes: tuple[frozenset[int], ...]


class Frame(Struct, frozen=True):
    """A box around a block, a call of a user's layer, or a tagged part. ``names`` are the names that open it.

    It has one entry and one exit: the first item of its body is no join, and the last one is not ``Parallel``. With
    ``shapes``, it shows the shapes of its input and output.
    """

    key: FrameKey
    title: str
    body: Series
    names: tuple[str, ...] = ()
    shapes: bool = True


class Series(Struct, frozen=True):
    """Items one below the other."""

    items: tuple[Item, ...]


Item = Leaf | Parallel | Frame


def leaves(item: Item | Series) -> Iterator[Leaf]:
    """The leaves of a tree, from top to bottom and left to right."""
    match item:
        case Leaf():
            yield item
        case Parallel():
            for branch in item.branches:
                yield from leaves(branch)
        case Frame():
            yield from leaves(item.body)
        case Series():
            for inner in item.items:
                yield from leaves(inner)


def units_of(item: Item | Series) -> Iterator[Unit]:
    """The units of a tree."""
    return (leaf.unit for leaf in leaves(item))


def blank(series: Series) -> Series:
    """The tree with the least text: boxes have none, and frames no shapes."""
    return Series(tuple(_blank(item) for item in series.items))


def _blank(item: Item) -> Item:
    match item:
        case Leaf():
            return replace(item, unit=replace(item.unit, label="")) if item.unit.kind == "layer" else item
        case Parallel():
            return replace(item, branches=tuple(map(blank, item.branches)))
        case Frame():
            title = item.title.partition(" · ")[0]
            return replace(item, body=blank(item.body), title=title, shapes=False)
