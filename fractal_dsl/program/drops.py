"""Branches of inline joins that training leaves out (stochastic depth, Huang et al. 2016, section 3).

Each branch with a ``@drop`` is left out by its own draw. If a join would lose all its branches, one of them, drawn
uniformly, stays, as in drop-path.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TypeVar

Chance = TypeVar("Chance", float, Fraction)


def chances_of(drops: Sequence[Chance]) -> tuple[Chance, ...]:
    """For each branch of a join the probability that it runs, from the probabilities of ``@drop``, all below 1."""
    survivor = drops[0] / len(drops)
    for drop in drops[1:]:
        survivor *= drop
    return tuple([1 - drop + survivor for drop in drops])
