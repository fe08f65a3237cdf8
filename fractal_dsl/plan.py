"""Columns, and drop-path plans as values: which operands of which joins are live, and by which route.

A column is named by the label of its operands: the level of the rule at which it was introduced, and its
place among the operands of that level at one join. Column 1 is the shallowest, of the highest level.

Drop-path: paper section 3.1. A plan is a function of (seed, step) alone, so every rank draws the same one and a
resumed run draws what the killed one would have drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from fractal_dsl.program import DropPath

Label = tuple[int, int]


def labels_of(levels: Sequence[int]) -> tuple[Label, ...]:
    """The labels of a join's operands from their levels."""
    return tuple((level, levels[:i].count(level)) for i, level in enumerate(levels))


def column_order(labels: Iterable[Label]) -> tuple[Label, ...]:
    """All columns of a net, shallowest first."""
    return tuple(sorted(set(labels), key=lambda label: (-label[0], label[1])))


def choose_operands(labels: Sequence[Label], columns: Sequence[Label]) -> tuple[int, ...]:
    """The operand that each column takes at a join: its own, else the nearest deeper one, else the deepest."""
    place = {label: i for i, label in enumerate(labels)}
    here = [label for label in columns if label in place]
    chosen: list[int] = []
    for i, _ in enumerate(columns):
        deeper = next((label for label in columns[i:] if label in place), here[-1])
        chosen.append(place[deeper])
    return tuple(chosen)


FULL = 0
"""The route of the whole network, and of local drop-path; route k is column k."""


@dataclass(frozen=True, slots=True)
class Plan:
    """``live[j][i]`` tells whether operand i of the j-th droppable join is live; ``route`` is 0, or a column."""

    route: int
    live: tuple[tuple[bool, ...], ...]


def full_plan(arities: Sequence[int]) -> Plan:
    """Everything is live."""
    return Plan(FULL, tuple((True,) * n for n in arities))


def column_plan(choices: Sequence[tuple[int, ...]], arities: Sequence[int], column: int) -> Plan:
    """One column, counted from 1, for the whole net. ``choices[j][k-1]`` is the operand of join j for column k."""
    live = tuple(tuple(i == c[column - 1] for i in range(n)) for c, n in zip(choices, arities, strict=True))
    return Plan(column, live)


def local_plan(arities: Sequence[int], drop: float, rng: Random) -> Plan:
    """Each operand is dropped with probability ``drop``; where all are, one of them, drawn evenly, survives."""
    live: list[tuple[bool, ...]] = []
    for n in arities:
        kept = [rng.random() >= drop for _ in range(n)]
        if not any(kept):
            kept[rng.randrange(n)] = True
        live.append(tuple(kept))
    return Plan(FULL, tuple(live))


def draw(
    drop_path: DropPath,
    arities: Sequence[int],
    choices: Sequence[tuple[int, ...]],
    columns: int,
    seed: int,
    step: int,
) -> Plan:
    """The plan of a training step: global (one column, drawn evenly) with probability ``global_``, else local."""
    rng = Random(f"drop-path {seed} {step}")  # a string seed goes through SHA-512: neighbours are independent
    if rng.random() < drop_path.global_:
        return column_plan(choices, arities, rng.randrange(columns) + 1)
    return local_plan(arities, drop_path.local, rng)
