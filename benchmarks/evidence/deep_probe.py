"""What happens inside the 48 layers of the deepest column, by depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from evidence.trainings import Training
from torch import Tensor, nn
from torch.nn import functional as F

from fractal_dsl.data import ImageSet
from fractal_dsl.evaluation.evaluate import images_for
from fractal_dsl.evaluation.run import Run
from fractal_dsl.runtime import FractalModule, build

Depths = Sequence[float]
"""A number for each convolution, from the input on."""
Quantities = Mapping[tuple[str, str], Depths]
"""By the time of the measurement and by what was measured."""


def probe(training: Training, examples: int = 256) -> Quantities:
    """The quantities of a finished training, before it and after it."""
    run = Run.open(Path(training.folder) / "run")
    trained = run.load("last")
    images = images_for(trained, run.compiled, run.config, torch.device("cpu"), False).normalised_as(run.data())
    made: dict[tuple[str, str], Depths] = {}
    for when, model in (("before", build(run.compiled, run.config.seed)), ("after", trained)):
        alone = model.extract(model.n_columns) if model.n_columns else model
        made |= {(when, what): depths for what, depths in _measured(alone, images, examples).items()}
    return made


def _measured(model: FractalModule, images: ImageSet, examples: int) -> dict[str, Depths]:
    """The quantities of a plain net in train mode, which normalises by the mini-batch."""
    x, y = images.batch(images.train, slice(0, examples))
    outputs: list[float] = []
    shifts: list[float] = []

    def saw(norm: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        mean, var = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        shifts.append(float(((given[0].detach().mean((0, 2, 3)) - mean).abs() / (var + 1e-5).sqrt()).mean()))

    def gave(conv: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        outputs.append(float(result.detach().std()))

    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    hooks = [conv.register_forward_hook(gave) for conv in convs]
    model.eval()
    means = [norm.register_forward_hook(saw) for norm in norms]
    with torch.no_grad():
        model(x)
    outputs.clear()
    for hook in means:
        hook.remove()
    F.cross_entropy(model.train()(x), y).backward()
    for hook in hooks:
        hook.remove()
    ratios = [_norm(conv.weight.grad) / _norm(conv.weight) for conv in convs]
    return {
        "standard deviation of outputs": outputs,
        "gradient over weight": ratios,
        "distance of running means": shifts,
    }


def _norm(x: Tensor | None) -> float:
    return 0.0 if x is None else float(x.detach().norm())
