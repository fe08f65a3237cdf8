"""Measures a run on its test examples."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import terminal
from fractal_dsl.compiled import Compiled
from fractal_dsl.config import TrainConfig
from fractal_dsl.config.recalibration import examples_of
from fractal_dsl.data import ImageSet, load, vocabularies_of
from fractal_dsl.evaluation.measure import Outputs, measure_all
from fractal_dsl.evaluation.recalibrate import recalibrate as recalibration
from fractal_dsl.evaluation.run import Run, Weights
from fractal_dsl.evaluation.tradeoff import measure_tradeoff
from fractal_dsl.plans.plan import Plan
from fractal_dsl.runs.data_record import DataRecord, compare_records
from fractal_dsl.runtime.arguments import each
from fractal_dsl.runtime.fit import tensors_of
from fractal_dsl.runtime.frozen import frozen_norms
from fractal_dsl.runtime.module import FractalModule


def to_stderr(text: str) -> None:
    """Print a note for the user, apart from the results."""
    print(terminal(text), file=sys.stderr)


def evaluate(
    run: Run,
    columns: bool = False,
    weights: Weights = "best",
    device: str | None = None,
    *,
    anytime: bool = False,
    ten_crops: bool = False,
    recalibrate: bool = False,
    allow_python: bool = False,
    say: Callable[[str], object] = to_stderr,
) -> dict[str, Any]:
    """Measure a run on the test examples; with ``ten_crops``, by the mean softmax over ten crops of each image.

    ``recalibrate`` re-estimates batch-norm statistics before (``evaluation/recalibrate.py``); the run stays as it is.

    Keys: ``loss``, the metrics of the task (``runs/tasks.py``), ``columns`` (a list of ``{column, loss, …}`` from
    shallow to deep, empty unless requested), ``confusion`` for up to 100 classes, ``weights_sha256`` and, if requested,
    ``anytime``, the result of ``measure_tradeoff``, and ``recalibrated``, the number of training examples for that.
    Raises UserError if the data are not of the kind that the run was trained on; calls ``say`` if only the examples
    differ.
    """
    place = choose_device(device)
    model = run.load(weights).to(place)
    trained = run.data()
    images = images_for(model, run.compiled, run.config, place, allow_python, trained, ten_crops=ten_crops)
    images = as_trained(images, trained, run.folder, say)
    examples = _recalibrated(run, model, images, say) if recalibrate else None
    if ten_crops:
        result = measure_all(model, images, images.test, columns, confusion=True, run=_over_crops(model), crops=10)
    else:
        result = measure_all(model, images, images.test, columns, confusion=True)
    result |= {"weights_sha256": weights_sha256(model)} | ({} if examples is None else {"recalibrated": examples})
    return result | ({"anytime": measure_tradeoff(model, images, images.test)} if anytime else {})


def _recalibrated(run: Run, model: FractalModule, images: ImageSet, say: Callable[[str], object]) -> int:
    """Re-estimate the batch-norm statistics of a run's net. Return the number of examples, which ``say`` gets, too."""
    config = run.config
    frozen = frozen_norms(model, config.freeze)
    examples = recalibration(model, images, examples_of(config.recalibrate), seed=config.seed, frozen=frozen)
    what = f"batch-norm statistics re-estimated on {examples:,} training {images.figures.examples}"
    say(what if examples else f"note: net {run.compiled.program.net} has no batch norm to re-estimate")
    return examples


def as_trained(images: ImageSet, trained: DataRecord, run: Path, say: Callable[[str], object]) -> ImageSet:
    """The data of a run, normalised as in training.

    Raises UserError if they are not of the kind that it was trained on; calls ``say`` if only the examples differ.
    """
    verdict = compare_records(trained, images.record, run, exact=False)
    if "refuse" in verdict:
        raise UserError(verdict["refuse"])
    if "note" in verdict:
        say(f"note: {verdict['note']}")
    return images.normalised_as(trained)


def images_for(
    model: FractalModule,
    compiled: Compiled,
    config: TrainConfig,
    place: torch.device,
    allow_python: bool,
    trained: DataRecord | None = None,
    *,
    ten_crops: bool = False,
) -> ImageSet:
    """The configured data set for a net or one of its columns, on the device, with tables encoded as in the run whose
    record is ``trained``. Raises UserError as ``load`` does."""
    vocabulary = vocabularies_of(model.join_graph)
    return load(
        config,
        compiled.program.net,
        model.inputs,
        model.outputs,
        place,
        vocabulary=vocabulary,
        allow_python=allow_python,
        ten_crops=ten_crops,
        trained=trained,
    )


def choose_device(name: str | None) -> torch.device:
    """The device of that name; by default CUDA if present, else the CPU. Raises UserError if it cannot be used."""
    wanted = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise UserError(f"there is no device `{wanted}`: this machine has {_devices()}") from None
    try:
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"device `{wanted}` cannot be used ({reason}): this machine has {_devices()}") from None
    return device


def _devices() -> str:
    """The names of the available devices."""
    names = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    return ", ".join(names + ["mps"] * torch.backends.mps.is_available())


def _over_crops(model: FractalModule) -> Outputs:
    """Logits whose softmax is the mean softmax over an image's crops: [batch, crops, …] to [batch, classes].

    Image files have classes, so all outputs give logits.
    """

    def run(x: Tensor, plan: Plan) -> Tensor:
        def mean(logits: Tensor) -> Tensor:
            parts = cast(Tensor, logits.float().unflatten(0, x.shape[:2]))
            return parts.log_softmax(2).logsumexp(1) - math.log(x.shape[1])

        return each(mean, model.run(x.flatten(0, 1), plan))

    return run


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 over the names and bytes of all parameters and buffers, sorted by name."""
    total = hashlib.sha256()
    for name, value in sorted(tensors_of(model).items()):
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
