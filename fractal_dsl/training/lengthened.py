"""Describes how more epochs change a resumed run."""

from __future__ import annotations

from fractal_dsl.base.texts import counted
from fractal_dsl.config import TrainConfig
from fractal_dsl.training.checkpoint import Progress


def lengthened(config: TrainConfig, before: int, progress: Progress) -> str:
    """A message for people: the run had ``before`` epochs when its checkpoint was written."""
    schedule, now, done = config.schedule, config.epochs, progress.epoch
    text = f"the run has {now:,} epochs now, not {before:,}"
    if progress.ended == "patience":
        text += f", and another {counted(config.patience or 0, 'epoch')} to improve on epoch {progress.best_epoch}"
    if all(schedule.factor(i / 2, before) == schedule.factor(i / 2, now) for i in range(2 * done)):
        same = "" if progress.ended == "patience" else ", so the result equals that of such a run"
        return f"{text}. The learning rate so far was that of a run of {now:,} epochs{same}"
    last, rate = max(0, done - 1), config.optimizer.lr
    was, new = (rate * schedule.factor(epoch, epochs) for epoch, epochs in ((last, before), (done, now)))
    return (
        f"{text}. The {schedule.name} schedule follows that: the learning rate goes from {was:.2g} to {new:.2g}, "
        f"as in a run of {now:,} epochs at this point. Earlier rates differ from such a run's, so the result "
        "differs too"
    )
