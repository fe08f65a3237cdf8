"""The loss and the metrics of a net and of each of its columns."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import terminal
from fractal_dsl.compiled import Compiled
from fractal_dsl.config import TrainConfig
from fractal_dsl.config.losses import TaskName
from fractal_dsl.data import ImageSet, Part, in_order, load, vocabulary_of
from fractal_dsl.evaluation.run import Run, Weights
from fractal_dsl.evaluation.tradeoff import measure_tradeoff
from fractal_dsl.plans.plan import Plan
from fractal_dsl.runs.data_record import DataRecord, compare
from fractal_dsl.runs.tasks import TASKS
from fractal_dsl.runtime.fit import tensors_of
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.world import ALONE, World

_BATCH = 256
_HUGE = torch.finfo(torch.float32).max


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
    allow_python: bool = False,
    say: Callable[[str], object] = to_stderr,
) -> dict[str, Any]:
    """Measure a run on the test images; with ``ten_crops``, by the mean softmax over ten crops of each image.

    Keys: ``loss``, the metrics of the task (``runs/tasks.py``), ``columns`` (a list of ``{column, loss, …}`` from
    shallow to deep, empty unless requested), ``weights_sha256`` and, if requested, ``anytime``, the result of
    ``measure_tradeoff``. Raises UserError if the data are not of the kind that the run was
    trained on; calls ``say`` if only the examples differ.
    """
    place = choose_device(device)
    model = run.load(weights).to(place)
    trained = run.data()
    images = images_for(model, run.compiled, run.config, place, allow_python, trained, ten_crops=ten_crops)
    images = as_trained(images, trained, run.folder, say)
    if ten_crops:
        result = measure_all(model, images, images.test, columns, run=_over_crops(model), batch=_BATCH // 10)
    else:
        result = measure_all(model, images, images.test, columns)
    result |= {"weights_sha256": weights_sha256(model)}
    return result | ({"anytime": measure_tradeoff(model, images, images.test)} if anytime else {})


def as_trained(images: ImageSet, trained: DataRecord, run: Path, say: Callable[[str], object]) -> ImageSet:
    """The data of a run, normalised as in training.

    Raises UserError if they are not of the kind that it was trained on; calls ``say`` if only the examples differ.
    """
    verdict = compare(trained, images.record, run, exact=False)
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
    vocabulary = vocabulary_of(model.join_graph)
    return load(
        config,
        compiled.program.net,
        model.input,
        model.output,
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


Outputs = Callable[[Tensor, Plan], Tensor | None]
"""A function for the outputs of a mini-batch under a plan, or None if another process has them."""


def _over_crops(model: FractalModule) -> Outputs:
    """Logits whose softmax is the mean softmax over an image's crops: [batch, crops, …] to [batch, classes]."""

    def run(x: Tensor, plan: Plan) -> Tensor:
        parts = model(x.flatten(0, 1), plan).float().unflatten(0, x.shape[:2])
        return parts.log_softmax(2).logsumexp(1) - math.log(x.shape[1])

    return run


def measure_all(
    model: FractalModule,
    images: ImageSet,
    part: Part,
    columns: bool = True,
    *,
    run: Outputs | None = None,
    shares: World = ALONE,
    world: World | None = None,
    batch: int = _BATCH,
) -> dict[str, Any]:
    """``loss`` and the task's metrics of the whole net, and ``columns``: the same for each column alone.

    The processes of ``shares`` divide the mini-batches among them. The figures cover all processes in ``world``, by
    default the same ones.
    """
    numbers = range(1, model.n_columns + 1) if columns else ()
    plans = [model.full_plan(), *map(model.column_plan, numbers)]
    whole, *alone = _measure(model, images, part, plans, run or model, shares, world or shares, batch)
    return whole | {"columns": [{"column": k} | figures for k, figures in zip(numbers, alone, strict=True)]}


def measure(model: FractalModule, images: ImageSet, part: Part, plan: Plan) -> dict[str, float]:
    """``loss`` and the task's metrics in eval mode under a plan. The model keeps its mode.

    A barely trained column may overflow: figures beyond float32 are replaced by the worst float32.
    """
    return _measure(model, images, part, [plan], model, ALONE, ALONE, _BATCH)[0]


def _measure(
    model: FractalModule,
    images: ImageSet,
    part: Part,
    plans: Sequence[Plan],
    run: Outputs,
    shares: World,
    world: World,
    batch: int,
) -> list[dict[str, float]]:
    """The figures under each plan. The images are read once.

    All processes run the same number of mini-batches, because weights may have to be gathered.
    """
    mode = model.training
    model.eval()
    meters = [images.task.meter() for _ in plans]
    order = in_order(len(part), batch)
    turns = range(shares.rank, -(-len(order) // shares.size) * shares.size, shares.size)
    mine = [order[min(turn, len(order) - 1)] for turn in turns]
    with torch.no_grad() if world.size > 1 else torch.inference_mode():
        for turn, (x, y) in zip(turns, images.batches(part, mine), strict=True):
            for meter, plan in zip(meters, plans, strict=True):
                output = run(x, plan)
                if output is not None and turn < len(order):
                    meter.update(output, y)
    model.train(mode)
    return [_finite(meter.compute(world), images.task.name) for meter in meters]


def _finite(figures: dict[str, float], task: TaskName) -> dict[str, float]:
    worst = {"loss": _HUGE} | {m.key: -_HUGE if m.higher else _HUGE for m in TASKS[task].metrics}
    return {key: value if abs(value) < _HUGE else worst[key] for key, value in figures.items()}


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 over the names and bytes of all parameters and buffers, sorted by name."""
    total = hashlib.sha256()
    for name, value in sorted(tensors_of(model).items()):
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
