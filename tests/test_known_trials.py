"""The index of a sweep's trials: it finds what a search through all trials finds, and looks at new ones only."""

from __future__ import annotations

import random
from typing import Any

import pytest

optuna = pytest.importorskip("optuna")

from optuna.distributions import IntDistribution  # noqa: E402
from optuna.trial import FrozenTrial, TrialState, create_trial  # noqa: E402

from fractal_dsl.sweep.known import AGAIN, REPEATS, Known  # noqa: E402

_AXES = {"columns": IntDistribution(1, 6), "width": IntDistribution(1, 3)}


def trial(number: int, state: TrialState, columns: int, width: int = 1, **attributes: int) -> FrozenTrial:
    drawn = {} if state == TrialState.WAITING else {"columns": columns, "width": width}
    axes = {} if state == TrialState.WAITING else _AXES
    values = [0.5] if state == TrialState.COMPLETE else None
    made = create_trial(state=state, values=values, params=drawn, distributions=axes, user_attrs=attributes)
    made.number = number
    return made


def counted(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    again = {t.user_attrs.get(AGAIN) for t in trials}
    return [t for t in trials if REPEATS not in t.user_attrs and t.number not in again]


@pytest.mark.parametrize("seed", range(20))
def test_it_finds_what_a_search_finds(seed: int) -> None:
    rng, known, trials = random.Random(seed), Known(), list[FrozenTrial]()
    for number in range(60):
        state = rng.choice([TrialState.RUNNING, TrialState.WAITING, TrialState.COMPLETE, TrialState.FAIL])
        failed = [t.number for t in trials if t.state == TrialState.FAIL]
        attributes: dict[str, int] = {AGAIN: rng.choice(failed)} if failed and rng.random() < 0.2 else {}
        trials.append(trial(number, state, rng.randint(1, 6), rng.randint(1, 3), **attributes))
        for one in [t for t in trials if not t.state.is_finished() and rng.random() < 0.4]:
            ended = rng.choice([TrialState.RUNNING, TrialState.COMPLETE, TrialState.FAIL])
            more: dict[str, int] = {REPEATS: 0} if rng.random() < 0.2 else {}
            columns, width = rng.randint(1, 6), rng.randint(1, 3)
            columns, width = one.params.get("columns", columns), one.params.get("width", width)
            trials[one.number] = trial(one.number, ended, columns, width, **{**one.user_attrs, **more})
        known.update(trials)
        expected = counted(trials)
        assert known.counted() == len(expected)
        assert sorted(t.number for t in known.open_now()) == [t.number for t in expected if not t.state.is_finished()]
        probe = trial(60, TrialState.RUNNING, rng.randint(1, 6), rng.randint(1, 3))
        same = [t.number for t in expected if t.params == probe.params]
        assert known.same(probe) == (same[0] if same else None)


def test_it_looks_at_a_finished_trial_once() -> None:
    class Watched(list[FrozenTrial]):
        looked: list[int]

        def __getitem__(self, number: Any) -> Any:
            self.looked.append(number)
            return super().__getitem__(number)

    trials = Watched(trial(n, TrialState.COMPLETE, 1 + n % 6) for n in range(1000))
    trials.looked = []
    known = Known()
    known.update(trials)
    trials += [trial(1000, TrialState.RUNNING, 3), trial(1001, TrialState.COMPLETE, 4)]
    trials.looked = []
    known.update(trials)
    known.update(trials)
    assert trials.looked == [1000, 1001, 1000]
