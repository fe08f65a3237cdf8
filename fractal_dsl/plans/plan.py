"""Drop-path plans as values: which operands of which joins are live, and by which route.

The paper describes drop-path in section 3.1. A plan is a function of (seed, step) alone: every rank draws the same one,
and a resumed run draws the same plans as an uninterrupted run.

As text, a plan is its route, a colon, and one group of digits per join of a rule, separated by dots: 1 is a live
operand, 0 a dropped one. A repeated group is written once, with its count: ``0:110.11*3.01`` is route 0 and five joins.
The groups of the inline joins that have branches with ``@drop`` follow a slash: ``0:110/10.11*2``. Without the slash
every branch is live, as in evaluation. ``0:110/11*3`` differs from that: it is a draw that left every branch in, and
live branches of a draw make up for the steps that leave them out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from random import Random

from msgspec import Struct

from fractal_dsl.base.errors import UserError
from fractal_dsl.plans.plan_to_svg import plan_to_svg
from fractal_dsl.program.program import DropPath

FULL = 0
"""The route of the whole network and of local drop-path. Route k is column k, from 1."""


class Plan(Struct, frozen=True):
    """``live[j][i]`` tells whether operand i of the j-th join of a rule is live. ``route`` is ``FULL`` or a column.

    ``branches[j][i]`` tells whether branch i of the j-th inline join with a ``@drop`` is live. It is empty if they were
    not drawn: then every branch is live, as in evaluation.
    """

    route: int
    live: tuple[tuple[bool, ...], ...]
    branches: tuple[tuple[bool, ...], ...] = ()

    def text(self) -> str:
        """The plan as text. ``plan_of_text`` reads it."""
        branches = f"/{_groups(self.branches)}" if self.branches else ""
        return f"{self.route}:{_groups(self.live)}{branches}"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """The plan as a picture in a notebook: a row of dots for each join."""
        return {"text/plain": f"plan {self.text()}", "image/svg+xml": plan_to_svg((*self.live, *self.branches))}


def _groups(joins: Sequence[Sequence[bool]]) -> str:
    runs = ((live_digits(flags), sum(1 for _ in run)) for flags, run in groupby(joins))
    return ".".join(group if n == 1 else f"{group}*{n}" for group, n in runs)


def live_digits(live: Sequence[bool]) -> str:
    """The operands of one join as in the text of a plan: ``110``."""
    return "".join("01"[on] for on in live)


_MAX_JOINS = 10_000_000  # more than any net has: without a limit, a short text could fill the memory


def plan_of_text(text: str) -> Plan:
    """The plan that ``Plan.text`` wrote. Raises UserError for any other text."""
    route, colon, rest = text.strip().partition(":")
    live, slash, branches = rest.partition("/")
    if not (colon and re.fullmatch(r"\d{1,9}", route)) or (slash and not branches):
        raise _no_plan(text)
    return Plan(int(route), _joins(live, text), _joins(branches, text))


def _joins(digits: str, text: str) -> tuple[tuple[bool, ...], ...]:
    """The joins that groups of digits in a plan's text stand for."""
    groups = [re.fullmatch(r"([01]{1,10000})(?:\*([1-9]\d{0,7}))?", group) for group in digits.split(".")]
    if digits and not all(groups):
        raise _no_plan(text)
    runs = [(tuple(d == "1" for d in group[1]), int(group[2] or 1)) for group in groups if group]
    if sum(n for _, n in runs) > _MAX_JOINS:
        raise UserError(f"{_short(text)!r} is not a plan: no net has so many joins")
    if not all(any(flags) for flags, _ in runs):
        raise UserError(f"{_short(text)!r} is not a plan: each join needs a live operand, a 1")
    return tuple(flags for flags, n in runs for _ in range(n))


def _no_plan(text: str) -> UserError:
    return UserError(f"{_short(text)!r} is not a plan: write its route and its live operands, such as 0:110.11*3.01")


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:60] + "…"


def full_plan(arities: Sequence[int]) -> Plan:
    """The plan with every operand live. ``arities[j]`` is the number of operands of join j."""
    return Plan(FULL, tuple((True,) * n for n in arities))


def column_plan(choices: Sequence[tuple[int, ...]], arities: Sequence[int], column: int) -> Plan:
    """Keep one column, from 1, in the whole net: global drop-path (paper, section 3.1).

    ``arities[j]`` is the number of operands of join j, and ``choices[j][k-1]`` the operand that column k takes there.
    """
    live = tuple(tuple(i == c[column - 1] for i in range(n)) for c, n in zip(choices, arities, strict=True))
    return Plan(column, live)


def local_plan(arities: Sequence[int], drop: float, rng: Random) -> Plan:
    """Drop each operand with probability ``drop``: local drop-path (paper, section 3.1).

    ``arities[j]`` is the number of operands of join j. If a join loses all of them, one survives, drawn uniformly.
    """
    live: list[tuple[bool, ...]] = []
    for n in arities:
        kept = [rng.random() >= drop for _ in range(n)]
        if not any(kept):
            kept[rng.randrange(n)] = True
        live.append(tuple(kept))
    return Plan(FULL, tuple(live))


def draw_plan(
    drop_path: DropPath,
    arities: Sequence[int],
    choices: Sequence[tuple[int, ...]],
    columns: int,
    seed: int,
    step: int,
) -> Plan:
    """The plan of a training step (paper, section 3.1).

    With probability ``drop_path.global_`` it is one of ``columns`` columns, drawn by their weights, which are equal
    unless given, else local drop-path.
    ``arities`` and ``choices`` are as in ``column_plan``.
    """
    rng = Random(
        f"drop-path {seed} {step}"
    )  # string seeds are hashed with SHA-512, so neighbouring steps are independent
    if rng.random() < drop_path.global_:
        numbers = range(1, columns + 1)
        weights = drop_path.weights
        k = rng.choices(numbers, weights)[0] if weights else rng.randrange(columns) + 1
        return column_plan(choices, arities, k)
    return local_plan(arities, drop_path.local, rng)


def draw_branches(drops: Sequence[Sequence[float]], seed: int, step: int) -> tuple[tuple[bool, ...], ...]:
    """For each inline join with these probabilities of its branches, which of them a training step runs.

    Stochastic depth (Huang et al. 2016, section 3). The draws are independent of those of drop-path. If all branches of
    a join are left out, one of them, drawn uniformly, stays.
    """
    rng = Random(f"stochastic depth {seed} {step}")
    live: list[tuple[bool, ...]] = []
    for join in drops:
        kept = [drop == 0 or rng.random() >= drop for drop in join]
        if not any(kept):
            kept[rng.randrange(len(kept))] = True
        live.append(tuple(kept))
    return tuple(live)
