"""Tensors whose axes wait to be rearranged: the batch may stand behind other axes, or share one with them.

Code that rearranges axes often passes through such forms: heads in front of the batch, windows that count as examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import cast

from fractal_dsl.importing.building import Builder, Ref
from fractal_dsl.importing.refusal import Refusal


@dataclass(frozen=True)
class View:
    """A step's output in other axes. Each axis is made of some axes of the step, one after another; 0 is the batch."""

    ref: Ref
    axes: tuple[tuple[int, ...], ...]

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.axes)

    def shape(self, batch: int) -> tuple[int, ...]:
        """The sizes of the axes."""
        sizes = (batch, *self.ref.out.shape)
        return tuple([prod(sizes[a] for a in axis) for axis in self.axes])


def view_of(x: Ref | View) -> View:
    """A step's output as it is."""
    return x if isinstance(x, View) else View(x, tuple([(a,) for a in range(x.rank)]))


def settled(b: Builder, x: Ref | View) -> tuple[Ref, int]:
    """A step with its axes in their order, and the number of its axes that share the first one with the batch. It is -1
    for a tensor without the batch, unless its first axis has size 1 and stands for it.

    Raises Refusal if the batch does not come first."""
    if isinstance(x, Ref):
        return x, 0
    if x not in b.settled:
        b.settled[x] = _settled(b, x)
    return b.settled[x]


def has_batch(x: Ref | View) -> bool:
    """Whether a tensor has the batch among its axes. One that depends on weights only has not."""
    return isinstance(x, Ref) or any(0 in axis for axis in x.axes)


def aligned(b: Builder, x: Ref | View, rank: int, folded: int) -> Ref:
    """A tensor as an operand beside one of a rank with ``folded`` axes folded into the batch: axes of size 1 come
    first. Raises Refusal if it has more axes, or another size along the batch."""
    if has_batch(x):
        ref, own = settled(b, x)
        if own != folded or ref.rank != rank:
            raise Refusal("an operation on tensors of different axes has no counterpart in the language", b.place)
        return ref
    assert isinstance(x, View)
    sizes = [*x.shape(b.batch)]
    if folded >= 0 and len(sizes) == rank - folded:
        if sizes[0] != 1:
            raise Refusal("an operation of weights and examples of a mini-batch", b.place)
        sizes = sizes[1:]
    if len(sizes) > rank - 1 - max(folded, 0):
        raise Refusal("an operation on tensors of different axes has no counterpart in the language", b.place)
    order = [a for axis in x.axes for a in axis]
    return reshaped(b, permuted(b, x.ref, order), [1] * (rank - 1 - len(sizes)) + sizes)


def _settled(b: Builder, x: View) -> tuple[Ref, int]:
    order = [a for axis in x.axes for a in axis]
    if not has_batch(x):
        folded = 0 if x.axes[:1] == ((),) else -1
        return reshaped(b, permuted(b, x.ref, order), x.shape(b.batch)[folded + 1 :]), folded
    if order[:1] != [0]:
        raise Refusal("an operation whose first axis is not the batch has no counterpart in the language", b.place)
    ref, folded = permuted(b, x.ref, order[1:]), len(x.axes[0]) - 1
    sizes = (0, *x.ref.out.shape)
    shape = [*[sizes[a] for a in x.axes[0][1:]], *[prod(sizes[a] for a in axis) for axis in x.axes[1:]]]
    return reshaped(b, ref, shape), folded


def as_one_axis(b: Builder, x: View) -> View:
    """A tensor whose axes that are folded into the batch are one axis of its step."""
    ref, folded = settled(b, x)
    if folded < 1:
        return x
    shape = ref.out.shape
    return cast(View, folded_view(reshaped(b, ref, [prod(shape[:folded]), *shape[folded:]]), 1))


def plain(b: Builder, x: Ref | View) -> Ref:
    """A step whose axes are those of the tensor. Raises Refusal if an axis has the batch and more."""
    ref, folded = settled(b, x)
    if folded:
        raise Refusal("an operation on axes that are folded into the batch has no counterpart in the language", b.place)
    return ref


def folded_view(ref: Ref, folded: int) -> Ref | View:
    """The tensor whose first axis is the batch and some axes of a step."""
    if not folded:
        return ref
    if folded < 0:
        return View(ref, tuple([(a,) for a in range(1, ref.rank)]))
    return View(ref, (tuple(range(folded + 1)), *[(a,) for a in range(folded + 1, ref.rank)]))


def simple(b: Builder, x: View) -> Ref | View:
    """The view as a step if the batch is its first axis alone."""
    return plain(b, x) if x.axes and x.axes[0] == (0,) else x


def turned(b: Builder, x: Ref | View) -> Ref | View:
    """A sequence with its first two axes, length and batch, swapped. Raises Refusal if the batch is neither."""
    first, second, *rest = view_of(x).axes
    swapped = View(view_of(x).ref, (second, first, *rest))
    if first == (0,):
        return swapped
    return plain(b, swapped)


def permuted(b: Builder, x: Ref, order: Sequence[int]) -> Ref:
    """A step with its axes, without the batch, in another order, counted from 1."""
    moved = [i for i, a in enumerate(order, 1) if i != a]
    if not moved:
        return x
    if len(moved) == 2:
        return b.layer("transpose", x, dim0=moved[0], dim1=moved[1])
    return b.layer("permute", x, dims=tuple(order))


def reshaped(b: Builder, x: Ref, shape: Sequence[int]) -> Ref:
    """A step with other sizes, without the batch."""
    before, after = x.out.shape, tuple(shape)
    if after == before:
        return x
    for start in range(len(before)):
        for end in range(start + 1, len(before)):
            if (*before[:start], prod(before[start : end + 1]), *before[end + 1 :]) == after:
                return b.layer("flatten", x, start_dim=start + 1, end_dim=-1 if end == len(before) - 1 else end + 1)
    return b.layer("reshape", x, shape=after)


def regrouped(b: Builder, x: Ref | View, shape: Sequence[int]) -> View | None:
    """The numbers of a tensor in axes of other sizes, which may ask for parts of axes. None if one asks for a part of
    the batch, or if sizes do not divide."""
    view = view_of(x)
    sizes = (b.batch, *view.ref.out.shape)
    rest = [(a, sizes[a]) for axis in view.axes for a in axis if sizes[a] != 1 or a == 0]
    parts: dict[int, list[int]] = {a: [] for a in range(len(sizes))}
    groups: list[list[tuple[int, int]]] = []
    for size in shape:
        group: list[tuple[int, int]] = []
        while size > 1 or (rest[:1] and rest[0] == (0, 1)):
            if not rest:
                return None
            axis, count = rest.pop(0)
            take = count if size % count == 0 else size
            if count % take or (axis == 0 and take != count):
                return None
            parts[axis].append(take)
            group.append((axis, len(parts[axis]) - 1))
            size //= take
            if take < count:
                rest.insert(0, (axis, count // take))
        groups.append(group)
    return None if rest else _split(b, view.ref, parts, groups)


def _split(b: Builder, ref: Ref, parts: dict[int, list[int]], groups: list[list[tuple[int, int]]]) -> View:
    """A view in which each axis is made of parts of axes."""
    first: dict[int, int] = {}
    shape: list[int] = []
    for axis in range(1, ref.rank):
        first[axis] = len(shape) + 1
        shape += parts[axis]
    first[0] = 0
    ref = reshaped(b, ref, shape)
    return View(ref, tuple([tuple([first[axis] + part for axis, part in group]) for group in groups]))
