"""Re-estimates the batch-norm statistics of what is deployed, on request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch

from fractal_dsl.base.errors import UserError
from fractal_dsl.config.losses import TaskName
from fractal_dsl.config.recalibration import examples_of
from fractal_dsl.data import ImageSet
from fractal_dsl.deploy.origin import Origin
from fractal_dsl.evaluation.evaluate import as_trained, images_for, to_stderr
from fractal_dsl.evaluation.measure import measure
from fractal_dsl.evaluation.recalibrate import recalibrate
from fractal_dsl.runs.tasks import TASKS
from fractal_dsl.runtime.frozen import frozen_norms
from fractal_dsl.runtime.fuse import count_batchnorms


@dataclass(frozen=True)
class Recalibration:
    """The data that batch-norm statistics were re-estimated on, and the test figures before and after."""

    dataset: str
    examples: int
    before: dict[str, float]
    after: dict[str, float]
    task: TaskName = "classification"

    def text(self) -> str:
        """One line for people."""
        figures, (before, after) = TASKS[self.task], (self.before, self.after)
        score = figures.score
        return (
            f"batch-norm statistics from {self.examples:,} training {figures.examples} of {self.dataset}; "
            f"test {figures.examples}: "
            f"{score.label} {score.text(before[score.key])} before, {score.text(after[score.key])} after; "
            f"loss {before['loss']:.4f} before, {after['loss']:.4f} after"
        )


def recalibrated(
    origin: Origin,
    column: int | None,
    place: torch.device,
    *,
    allow_python: bool = False,
    say: Callable[[str], object] = to_stderr,
) -> tuple[Origin, Recalibration | None]:
    """The origin with re-estimated statistics, which its facts record, and the figures of a column or the whole net.

    The model changes in place, all routes of it, and ends on the CPU. A net without batch norms stays as it is, which
    ``say`` gets as a note. Raises UserError if the training examples cannot be read.
    """
    model, compiled = origin.model, origin.compiled
    plan = model.full_plan() if column is None else model.column_plan(column)
    if not count_batchnorms(model):
        say(f"note: net {compiled.program.net} has no batch norm, so there are no statistics to re-estimate")
        return origin, None
    images = _data(origin, place, allow_python, say)
    model.to(place).eval()
    before = measure(model, images, images.test, plan)
    config = origin.config
    frozen = frozen_norms(model, config.freeze)
    examples = recalibrate(model, images, examples_of(config.recalibrate), seed=config.seed, frozen=frozen)
    after = measure(model, images, images.test, plan)
    model.cpu()
    done = Recalibration(images.name, examples, before, after, images.task.name)
    return replace(origin, facts={**origin.facts, "recalibrated": asdict(done)}), done


def _data(origin: Origin, place: torch.device, allow_python: bool, say: Callable[[str], object]) -> ImageSet:
    """The data of a run, or those that the train block of a compiled network names."""
    if origin.config.dataset is None:
        raise UserError(
            f"--recalibrate needs the training examples, but the spec in {origin.folder} names none: "
            "give the training run, or compile a spec whose `train` block has a `dataset`"
        )
    images = images_for(origin.model, origin.compiled, origin.config, place, allow_python, origin.trained)
    if origin.trained is not None:
        images = as_trained(images, origin.trained, origin.folder, say)
    return images.raw() if origin.raw else images
