"""Loss and accuracy of a net and of each of its columns."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import terminal
from fractal_dsl.compiled import Compiled
from fractal_dsl.config import TrainConfig
from fractal_dsl.data import ImageSet, Part, in_order, load, vocabulary_of
from fractal_dsl.evaluation.run import Run, Weights
from fractal_dsl.evaluation.tradeoff import measure_tradeoff
from fractal_dsl.plans.plan import Plan
from fractal_dsl.runs.data_record import DataRecord, compare
from fractal_dsl.runtime.fit import tensors_of
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.world import ALONE, World

_BATCH = 256
_HUGE = torch.finfo(torch.float32).max


def to_stderr(text: str) -> None:
    """Tell the user something beside the results."""
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
    """What a run's weights make of the test images; with ``ten_crops``, the mean softmax over ten parts of each.

    Raises UserError if the data are not of the kind that the run was trained on; ``say`` is told of other examples.

    Keys: ``loss`` (mean cross-entropy, nats an image), ``accuracy`` (0 to 1), ``columns`` (a list of
    ``{column, loss, accuracy}``, shallow first; empty unless asked for), ``weights_sha256`` and, if it is asked for,
    ``anytime``: what ``measure_tradeoff`` gives.
    """
    place = choose_device(device)
    model = run.load(weights).to(place)
    images = images_for(model, run.compiled, run.config, place, allow_python, ten_crops=ten_crops)
    images = as_trained(images, run.data(), run.folder, say)
    if ten_crops:
        result = measure_all(model, images, images.test, columns, run=_over_crops(model), batch=_BATCH // 10)
    else:
        result = measure_all(model, images, images.test, columns)
    result |= {"weights_sha256": weights_sha256(model)}
    return result | ({"anytime": measure_tradeoff(model, images, images.test)} if anytime else {})


def as_trained(images: ImageSet, trained: DataRecord, run: Path, say: Callable[[str], object]) -> ImageSet:
    """The data of a run, normalised as in training.

    Raises UserError if they are not of the kind that it was trained on; ``say`` is told if examples have changed.
    """
    found = compare(trained, images.record, run, exact=False)
    if "refuse" in found:
        raise UserError(found["refuse"])
    if "note" in found:
        say(f"note: {found['note']}")
    return images.normalised_as(trained)


def images_for(
    model: FractalModule,
    compiled: Compiled,
    config: TrainConfig,
    place: torch.device,
    allow_python: bool,
    *,
    ten_crops: bool = False,
) -> ImageSet:
    """The configured data set for a net or a column of it, on the device. Raises UserError as ``load`` does."""
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
    )


def choose_device(name: str | None) -> torch.device:
    """The device of that name, or CUDA when present, else the CPU. Raises UserError if it cannot be used."""
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
    """The devices that can be named."""
    names = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    return ", ".join(names + ["mps"] * torch.backends.mps.is_available())


Logits = Callable[[Tensor, Plan], Tensor | None]
"""What gives the logits of a mini-batch under a plan; None where another process has them."""


def _over_crops(model: FractalModule) -> Logits:
    """Logits whose softmax is the mean of those of an image's parts: [batch, parts, …] to [batch, classes]."""

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
    run: Logits | None = None,
    shares: World = ALONE,
    world: World | None = None,
    batch: int = _BATCH,
) -> dict[str, Any]:
    """``loss`` and ``accuracy`` of the whole net, and ``columns``: the same for each column alone.

    The processes of ``shares`` take turns with the mini-batches; the figures are of all in ``world``, by default the
    same ones.
    """
    numbers = range(1, model.n_columns + 1) if columns else ()
    plans = [model.full_plan(), *map(model.column_plan, numbers)]
    whole, *alone = _measure(model, images, part, plans, run or model, shares, world or shares, batch)
    return whole | {"columns": [{"column": k} | found for k, found in zip(numbers, alone, strict=True)]}


def measure(model: FractalModule, images: ImageSet, part: Part, plan: Plan) -> dict[str, float]:
    """``loss`` and ``accuracy`` in eval mode under a plan; the model is left in the mode it was in.

    A column that has hardly been trained may overflow: a loss beyond float32 counts as its largest number.
    """
    return _measure(model, images, part, [plan], model, ALONE, ALONE, _BATCH)[0]


def _measure(
    model: FractalModule,
    images: ImageSet,
    part: Part,
    plans: Sequence[Plan],
    run: Logits,
    shares: World,
    world: World,
    batch: int,
) -> list[dict[str, float]]:
    """The figures under each plan; the images are read once.

    All processes run the same number of mini-batches, for weights may have to be gathered.
    """
    mode = model.training
    model.eval()
    sums = torch.zeros(2, len(plans), dtype=torch.float64)
    order = in_order(len(part), batch)
    turns = range(shares.rank, -(-len(order) // shares.size) * shares.size, shares.size)
    mine = [order[min(turn, len(order) - 1)] for turn in turns]
    with torch.no_grad() if world.size > 1 else torch.inference_mode():
        for turn, (x, y) in zip(turns, images.batches(part, mine), strict=True):
            for i, plan in enumerate(plans):
                logits = run(x, plan)
                if logits is not None and turn < len(order):
                    sums[0, i] += float(F.cross_entropy(logits, y, reduction="sum"))
                    sums[1, i] += int((logits.argmax(1) == y).sum())
    model.train(mode)
    losses, right = cast(list[list[float]], world.sum(sums).tolist())
    means = [min(loss / len(part), _HUGE) if math.isfinite(loss) else _HUGE for loss in losses]
    return [{"loss": mean, "accuracy": n / len(part)} for mean, n in zip(means, right, strict=True)]


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 over name and bytes of every parameter and buffer, in the order of names."""
    total = hashlib.sha256()
    for name, value in sorted(tensors_of(model).items()):
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
