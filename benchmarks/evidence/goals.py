"""The claims that the CIFAR replication decides, as differences that are paired over the seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from evidence.trainings import Figures

Seed = Mapping[str, Figures]
"""The figures of one seed, by net."""

WITH_DROP_PATH = ("drop-path, dropout", "columns=all, dropout")
BY_COLUMNS = {2: "drop-path, dropout, C=2", 3: "drop-path, dropout", 4: "drop-path, dropout, C=4"}


@dataclass(frozen=True)
class Estimate:
    """A mean over the seeds with its standard error, which is None for one seed."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean."""
        return fmean(self.values)

    @property
    def error(self) -> float | None:
        """The standard error of the mean."""
        return stdev(self.values) / sqrt(len(self.values)) if len(self.values) > 1 else None

    def __str__(self) -> str:
        return f"{self.mean:.2f}" + (f" ± {self.error:.2f}" if self.error is not None else "")


@dataclass(frozen=True)
class Goal:
    """A claim about errors in %. It is met if the mean of ``difference`` over the seeds is at least ``least``.

    With ``tolerant``, it may fall short of that by one standard error.
    """

    letter: str
    title: str
    difference: Callable[[Seed, str], float]
    least: float
    tolerant: bool = False

    def estimate(self, seeds: Sequence[Seed], kind: str) -> Estimate:
        """The difference by seed, of errors as ``trained`` or ``re-estimated``."""
        return Estimate(tuple([self.difference(seed, kind) for seed in seeds]))

    def verdict(self, estimate: Estimate) -> str:
        """Met or refuted, and whether the distance from the bound is less than a standard error."""
        slack = (estimate.error or 0.0) if self.tolerant else 0.0
        met = estimate.mean >= self.least - slack
        close = estimate.error is not None and abs(estimate.mean - self.least) < estimate.error
        return ("met" if met else "refuted") + (", by less than a standard error" if close else "")


def whole(seed: Seed, net: str, kind: str) -> float:
    """The error of a whole net."""
    return seed[net][kind]["whole net"]


def deepest(seed: Seed, net: str, kind: str) -> float:
    """The error of the deepest column of a net alone."""
    figures = seed[net][kind]
    return figures[f"column {len(figures) - 1}"]


def _gain(net: str) -> Callable[[Seed, str], float]:
    return lambda seed, kind: min(whole(seed, n, kind) for n in ("none", "dropout")) - whole(seed, net, kind)


def _column(net: str) -> Callable[[Seed, str], float]:
    return lambda seed, kind: whole(seed, net, kind) - deepest(seed, net, kind)


def _over_plain(net: str) -> Callable[[Seed, str], float]:
    dropout = ", dropout" if "dropout" in net else ""

    def difference(seed: Seed, kind: str) -> float:
        plain = [whole(seed, f"plain {n}{dropout}", kind) for n in (3, 6, 12)]
        return min(plain) - whole(seed, net, kind)

    return difference


def _more_columns(fewer: int) -> Callable[[Seed, str], float]:
    return lambda seed, kind: whole(seed, BY_COLUMNS[fewer], kind) - whole(seed, BY_COLUMNS[fewer + 1], kind)


GOALS = [
    *(
        Goal("a", f"{net}: the whole net gains 2 points over the better of none and dropout", _gain(net), 2.0)
        for net in WITH_DROP_PATH
    ),
    *(Goal("b", f"{net}: the deepest column is within 3 points", _column(net), -3.0) for net in WITH_DROP_PATH),
    *(
        Goal(
            "d", f"{net}: no worse than the best plain net with the same dropout", _over_plain(net), 0.0, tolerant=True
        )
        for net in ("none", "drop-path", "dropout", *WITH_DROP_PATH)
    ),
    *(Goal("e", f"{n + 1} columns err no more than {n}", _more_columns(n), 0.0, tolerant=True) for n in (2, 3)),
]
"""Differences are errors before minus after, so that larger is better."""
