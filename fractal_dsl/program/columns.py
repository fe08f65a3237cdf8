"""Columns: the labels of the operands of a join, their order, and the operand that each column takes.

The label of a column is the rule level that introduced it, and its position among the operands of that level at one
join. Columns are those of the paper, section 3. They are numbered from shallow to deep: for the paper's rule, column 1
is that of the highest level.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Label = tuple[int, int]


def labels_of(levels: Sequence[int]) -> tuple[Label, ...]:
    """The labels of the operands of a join, from their levels."""
    return tuple((level, levels[:i].count(level)) for i, level in enumerate(levels))


def column_order(labels: Iterable[Label]) -> tuple[Label, ...]:
    """All labels of a net, from the highest level to the lowest: from left to right in pictures."""
    return tuple(sorted(set(labels), key=lambda label: (-label[0], label[1])))


def choose_operands(labels: Sequence[Label], columns: Sequence[Label]) -> tuple[int, ...]:
    """The operand that each column takes at a join, by index: its own, else the nearest deeper, else the deepest one.

    ``labels`` are those of the operands, ``columns`` those of the net.
    """
    place = {label: i for i, label in enumerate(labels)}
    here = [label for label in columns if label in place]
    chosen: list[int] = []
    for i, _ in enumerate(columns):
        deeper = next((label for label in columns[i:] if label in place), here[-1])
        chosen.append(place[deeper])
    return tuple(chosen)
