"""What the trials of a sweep have tried so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

REPEATS, AGAIN = "repeats", "again"
"""Attributes of trials: the number of the trial with the same values; the failed trial that it repeats."""

Values = tuple[tuple[str, Any], ...]
"""The values of a trial by the names of its axes."""


def values_of(params: Mapping[str, Any]) -> Values:
    """Values that can be looked up."""
    return tuple(sorted(params.items()))


class Known:
    """The values of all trials. Finished trials are looked at once, so that an update does not depend on their number.

    Repetitions of the same values, and failed trials that were tried again, do not count.
    """

    def __init__(self) -> None:
        self.size = 0
        self.open: dict[int, FrozenTrial] = {}
        self._finished: dict[Values, list[int]] = {}
        self._skipped: set[int] = set()

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """Look at all trials of the sweep, of which ``trials[n]`` has the number n."""
        for number in [*self.open, *range(self.size, len(trials))]:
            trial = trials[number]
            if (failed := trial.user_attrs.get(AGAIN)) is not None:
                self._skipped.add(failed)
            if REPEATS in trial.user_attrs:
                self._skipped.add(number)
            if trial.state.is_finished():
                self.open.pop(number, None)
                self._finished.setdefault(values_of(trial.params), []).append(number)
            else:
                self.open[number] = trial
        self.size = len(trials)

    def counted(self) -> int:
        """How many trials count."""
        return self.size - len(self._skipped)

    def open_now(self) -> list[FrozenTrial]:
        """The trials that count and are waiting or running."""
        return [trial for number, trial in self.open.items() if number not in self._skipped]

    def same(self, trial: FrozenTrial) -> int | None:
        """The first trial that counts and has the values of another one; None if there is none."""
        numbers = [*self._finished.get(values_of(trial.params), ())]
        numbers += [number for number, one in self.open.items() if one.params == trial.params]
        return min((n for n in numbers if n != trial.number and n not in self._skipped), default=None)
