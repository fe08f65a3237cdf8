"""What happens inside the 48 layers of the deepest column, by depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import torch
from evidence.trainings import Training
from torch import Tensor, nn
from torch.nn import functional as F

from fractal_dsl.config import parse_config
from fractal_dsl.data import ImageSet
from fractal_dsl.evaluation.evaluate import images_for
from fractal_dsl.evaluation.run import Run
from fractal_dsl.language.source import Source
from fractal_dsl.pipeline import check
from fractal_dsl.plans.plan import FULL, Plan
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


def first_gradients(training: Training, examples: int = 256, samples: int = 5) -> dict[str, float]:
    """Before training, the largest norm of a gradient over the norm of its weight, of all convolutions, by plan.

    Local plans are the mean over ``samples`` of them.
    """
    compiled = check(Source(training.name, training.text), dict(training.params))[-1]
    config = parse_config({**compiled.program.train, **training.settings})
    model = build(compiled, training.seed).train()
    images = images_for(model, compiled, config, torch.device("cpu"), False)
    x, y = images.batch(images.train, slice(0, examples))
    if not model.n_columns:
        return {"48 layers": _largest(model, x, y, model.full_plan())}
    plans = {f"{3 * 2 ** (k - 1)} layers": model.column_plan(k) for k in range(1, model.n_columns + 1)}
    made = {name: _largest(model, x, y, plan) for name, plan in plans.items()}
    local = [p for p in (model.plan(training.seed, step) for step in range(20 * samples)) if p.route == FULL]
    made["local"] = fmean(_largest(model, x, y, plan) for plan in local[:samples]) if local else float("nan")
    return made | {"whole net": _largest(model, x, y, model.full_plan())}


def _largest(model: FractalModule, x: Tensor, y: Tensor, plan: Plan) -> float:
    """The largest gradient of a convolution over its weight under a plan."""
    model.zero_grad()
    F.cross_entropy(model.run(x, plan), y).backward()
    return max(_norm(m.weight.grad) / _norm(m.weight) for m in model.modules() if isinstance(m, nn.Conv2d))


def _norm(x: Tensor | None) -> float:
    return 0.0 if x is None else float(x.detach().norm())
