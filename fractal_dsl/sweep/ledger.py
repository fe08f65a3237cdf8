"""The trials of a sweep, which Optuna keeps in a journal that several processes write to."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.lock import LOCK, Lock
from fractal_dsl.sweep.folder import JOURNAL, Sweep, SweepFolder, whole_lines
from fractal_dsl.sweep.known import AGAIN, REPEATS, Known, Values, values_of
from fractal_dsl.sweep.space import combinations

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

FINAL, ERROR = "final", "error"
"""Attributes of trials: whether a failure is permanent; the error message."""
_COUNTED = 100_000
_DRAWS = 100


def require_optuna() -> None:
    """Raise UserError if Optuna is not installed. Called before any work is done."""
    if find_spec("optuna") is None:
        raise UserError("sweeps need Optuna: pip install 'fractal_dsl[sweep]'")


class Claim:
    """A trial that this process has claimed: no other process takes it until the lock is released or the process ends.

    ``log`` is the file for the trial's output.
    """

    def __init__(self, trial: FrozenTrial, lock: Lock) -> None:
        self.number, self.params, self.lock = trial.number, trial.params, lock
        self.log = lock.file


class Ledger:
    """The trials so far, and the choice of the next one."""

    def __init__(self, folder: SweepFolder, sweep: Sweep) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.folder, self.sweep = folder, sweep
        self.lock = folder.path / LOCK
        with Lock(self.lock).held(), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            whole_lines(folder.path / JOURNAL)
            self.storage = JournalStorage(
                JournalFileBackend(str(folder.path / JOURNAL), Lock(folder.path / ".journal-lock"))  # pyright: ignore[reportArgumentType]
            )
            if not self.storage.get_all_studies():
                up: Literal["maximize", "minimize"] = "maximize" if sweep.aim.higher else "minimize"
                directions = (up, "minimize") if sweep.minimize else (up,)
                optuna.create_study(storage=self.storage, study_name="sweep", directions=directions)
        pruners = optuna.pruners
        pruner = pruners.NopPruner() if sweep.prune is None else pruners.MedianPruner(n_warmup_steps=sweep.prune)
        self.study = optuna.load_study(storage=self.storage, study_name="sweep", pruner=pruner)
        self.id = self.storage.get_study_id_from_name("sweep")
        self.distributions = {axis.key: axis.distribution() for axis in sweep.space}
        self.known = Known()

    def trials(self) -> list[FrozenTrial]:
        """All trials except repetitions of the same values and those that were tried again."""
        return _counted(self.study.get_trials(deepcopy=False))

    def total(self) -> int:
        """The total number of trials."""
        return min(self.sweep.trials, combinations(self.sweep.space) or self.sweep.trials)

    def plan(self) -> None:
        """Enqueue the combinations of a grid, and the trials whose failure may have been temporary."""
        from optuna.trial import TrialState

        with Lock(self.lock).held():
            again = [t for t in self.trials() if t.state == TrialState.FAIL and not t.user_attrs.get(FINAL)]
            for trial in again:
                self.study.enqueue_trial(trial.params, {AGAIN: trial.number})
            if self.sweep.sampler == "grid":
                known = self._tried()
                for values in self._grid()[: self.total()]:
                    if values_of(values) not in known:
                        self.study.enqueue_trial(values)

    def take(self) -> Claim | None:
        """A trial that a dead process left running, or a new one; None if none is left."""
        from optuna.trial import TrialState

        with Lock(self.lock).held():
            self._look()
            trials = self.known.open_now()
            for trial in trials:
                if trial.state == TrialState.RUNNING and (claim := self._claim(trial)):
                    if trial.params.keys() == self.distributions.keys():
                        return claim
                    self._half_drawn(trial)
            waiting = any(t.state == TrialState.WAITING for t in trials)
            if not waiting and (self.sweep.sampler == "grid" or self.known.counted() >= self.total()):
                return None
            return self._new()

    def running(self) -> list[int]:
        """The numbers of the trials that are running or were left running."""
        from optuna.trial import TrialState

        return [t.number for t in self.trials() if t.state == TrialState.RUNNING]

    def note(self, number: int, attributes: Mapping[str, Any]) -> None:
        """Add attributes to a trial."""
        for key, value in attributes.items():
            self.storage.set_trial_user_attr(self._id(number), key, value)

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Record the objective after an epoch. Return whether the trial should be stopped."""
        self.storage.set_trial_intermediate_value(self._id(number), epoch, value)
        return self.study.pruner.prune(self.study, self.storage.get_trial(self._id(number)))

    def complete(self, number: int, values: Sequence[float]) -> None:
        """Mark a trial as done."""
        self.study.tell(number, list(values))

    def prune(self, number: int) -> None:
        """Mark a trial as pruned."""
        from optuna.trial import TrialState

        self.study.tell(number, state=TrialState.PRUNED)

    def fail(self, number: int, error: str, *, final: bool) -> None:
        """Mark a trial as failed. ``final`` means that it would fail again."""
        from optuna.trial import TrialState

        self.note(number, {ERROR: error, FINAL: final})
        self.study.tell(number, state=TrialState.FAIL)

    def _id(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self.id, number)

    def _claim(self, trial: FrozenTrial) -> Claim | None:
        lock = Lock(self.folder.log(trial.number))
        return Claim(trial, lock) if lock.claim() else None

    def _new(self) -> Claim | None:
        """Ask for a trial with new values. Optuna's draws are functions of (seed, trial number)."""
        from optuna.trial import TrialState

        for _ in range(_DRAWS):
            self._look()
            waiting = sum(t.state == TrialState.WAITING for t in self.known.open.values())
            self.study.sampler = self._sampler(self.known.size - waiting)
            asked = self.study.ask(self.distributions)
            trial = self.storage.get_trial(self._id(asked.number))
            same = self.known.same(trial)
            if same is None:
                return self._claim(trial)
            self.note(trial.number, {REPEATS: same})
            first = self.storage.get_trial(self._id(same))
            if first.state == TrialState.COMPLETE:
                self.study.tell(trial.number, first.values)
            else:
                self.study.tell(trial.number, state=TrialState.FAIL)
            if not self._line_up_untried(trial.number):
                return None
        return None

    def _look(self) -> None:
        self.known.update(self.study.get_trials(deepcopy=False))

    def _line_up_untried(self, number: int) -> bool:
        """Enqueue an untried combination if there are few, because a sampler might repeat old ones forever.

        Return False if none is left."""
        if (combinations(self.sweep.space) or _COUNTED) >= _COUNTED:
            return True
        known = self._tried()
        left = [values for values in self._grid() if values_of(values) not in known]
        if left:
            self.study.enqueue_trial(random.Random(f"{self.sweep.seed}/{number}").choice(left))
        return bool(left)

    def _tried(self) -> set[Values]:
        """The values of all trials that count, drawn or enqueued."""
        return {values_of(t.params or t.system_attrs.get("fixed_params", {})) for t in self.trials()}

    def _half_drawn(self, trial: FrozenTrial) -> None:
        """Handle a trial whose process died while drawing its values: enqueue its fixed values again."""
        from optuna.trial import TrialState

        self.note(trial.number, {REPEATS: trial.number})
        self.study.tell(trial.number, state=TrialState.FAIL)
        if fixed := trial.system_attrs.get("fixed_params"):
            self.study.enqueue_trial(fixed)

    def _sampler(self, number: int) -> BaseSampler:
        from optuna.samplers import RandomSampler, TPESampler

        seed = random.Random(f"{self.sweep.seed}/{number}").getrandbits(31)
        if self.sweep.sampler != "tpe":
            return RandomSampler(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning that constant_liar is experimental
            return TPESampler(seed=seed, constant_liar=True)

    def _grid(self) -> list[dict[str, Any]]:
        keys = [axis.key for axis in self.sweep.space]
        return [dict(zip(keys, values, strict=True)) for values in product(*(a.values() for a in self.sweep.space))]


def _counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    tried_again = {t.user_attrs.get(AGAIN) for t in trials}
    return [t for t in trials if REPEATS not in t.user_attrs and t.number not in tried_again]
