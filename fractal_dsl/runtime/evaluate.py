"""Loss and accuracy of a net and of each of its columns."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from fractal_dsl.diagnostics import UserError
from fractal_dsl.plan import Plan
from fractal_dsl.runtime.data import ImageSet, Part, load
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.run_folder import Run, Weights

_BATCH = 256
_HUGE = torch.finfo(torch.float32).max


def evaluate(run: Run, columns: bool = False, weights: Weights = "best", device: str | None = None) -> dict[str, Any]:
    """What a run's weights make of the test images.

    Keys: ``loss`` (mean cross-entropy, nats an image), ``accuracy`` (0 to 1), ``columns`` (a list of
    ``{column, loss, accuracy}``, shallow first; empty unless asked for) and ``weights_sha256``.
    """
    place = choose_device(device)
    model = run.load(weights).to(place)
    images = load(run.config, run.compiled.program.net, model.input, model.output, place)
    return measure_all(model, images, images.test, columns) | {"weights_sha256": weights_sha256(model)}


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


def measure_all(model: FractalModule, images: ImageSet, part: Part, columns: bool = True) -> dict[str, Any]:
    """``loss`` and ``accuracy`` of the whole net, and ``columns``: the same for each column alone."""
    by_column = [
        {"column": k} | measure(model, images, part, model.column_plan(k))
        for k in range(1, model.n_columns + 1)
        if columns
    ]
    return measure(model, images, part, model.full_plan()) | {"columns": by_column}


def measure(model: FractalModule, images: ImageSet, part: Part, plan: Plan) -> dict[str, float]:
    """``loss`` and ``accuracy`` in eval mode under a plan; the model is left in the mode it was in.

    A column that has hardly been trained may overflow: a loss beyond float32 counts as its largest number.
    """
    mode = model.training
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=part.labels.device)
    right = torch.zeros_like(loss)
    with torch.inference_mode():
        for start in range(0, len(part), _BATCH):
            x, y = images.batch(part, slice(start, start + _BATCH))
            logits = model.run(x, plan)
            loss += F.cross_entropy(logits, y, reduction="sum")
            right += (logits.argmax(1) == y).sum()
    model.train(mode)
    loss = (loss / len(part)).nan_to_num(_HUGE, _HUGE).clamp(max=_HUGE)
    return {"loss": loss.item(), "accuracy": right.item() / len(part)}


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 over name and bytes of every parameter and buffer, in the order of names."""
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
