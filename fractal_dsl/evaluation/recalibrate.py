"""Re-estimates the statistics of batch norms for the nets that run in evaluation.

Training leaves running averages over the last mini-batches, under drop-path plans and dropout. In evaluation everything
is live and dropout is off, which shifts what batch norms see. So each route's statistics are estimated again: those of
the whole net with every path live, and those of column k with column k alone (``runtime/batchnorm.py``). Every route
sees the same mini-batches. The examples are not augmented, because those in evaluation are not (Touvron et al. 2019,
"Fixing the train-test resolution discrepancy"). Weights do not change, so training is not affected.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from fractal_dsl.data import ImageSet, seed_for
from fractal_dsl.evaluation.measure import Outputs, batch_for
from fractal_dsl.runtime.graph_to_fx import routes_apart
from fractal_dsl.runtime.module import FractalModule


def recalibrate(
    model: FractalModule,
    images: ImageSet,
    examples: int,
    *,
    seed: int,
    frozen: Collection[nn.Module] = (),
    run: Outputs | None = None,
) -> int:
    """Re-estimate the running statistics of a net's batch norms, in place, for the whole net and for each column.

    They become averages over mini-batches of up to 256 of ``examples`` training examples (at most all), which ``seed``
    draws. The result is a function of weights, data and seed alone. Statistics in ``frozen`` stay. ``run`` computes
    outputs if the net is spread over processes, all of which must then call this. Returns the number of examples: 0
    for a net without batch norms. The model ends in eval mode.
    """
    norms = _norms(model, frozen)
    model.eval()
    if run is None and not norms:
        return 0
    rows = _rows(len(images.train), examples, seed)
    columns = range(1, model.n_columns + 1) if routes_apart(model.join_graph) else ()
    plans = [model.full_plan(), *map(model.column_plan, columns)]
    parts = -(-len(rows) // batch_for(model))
    with torch.no_grad(), _eager(), _averaging(norms):
        for x, _ in images.batches(images.train, rows.tensor_split(parts)):
            if run is None:
                model.run_together(x, plans)
            else:
                for plan in plans:
                    run(x, plan)
    return len(rows)


@contextmanager
def recalibrated(model: FractalModule, images: ImageSet, examples: int, **options: Any) -> Generator[int]:
    """Re-estimate the statistics for the time of the block, as ``recalibrate`` does, and put the old ones back."""
    mode = model.training
    own = [(buffer, buffer.clone()) for norm in _norms(model, ()) for buffer in norm.buffers(recurse=False)]
    try:
        yield recalibrate(model, images, examples, **options)
    finally:
        for buffer, value in own:
            buffer.copy_(value)
        model.train(mode)


def _norms(model: nn.Module, frozen: Collection[nn.Module]) -> list[_BatchNorm]:
    """The batch norms with running statistics, without frozen ones."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    return [norm for norm in norms if not any(norm is other for other in frozen)]


def _rows(count: int, examples: int, seed: int) -> Tensor:
    """Rows of training examples. They are drawn even if all take part: neighbours in a data set may be alike."""
    generator = torch.Generator().manual_seed(seed_for("recalibration", seed))
    return torch.randperm(count, generator=generator)[:examples]


def _eager() -> AbstractContextManager[Any]:
    """Run what ``torch.compile`` compiled as it was before: compiled code would be made anew for each mini-batch."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


@contextmanager
def _averaging(norms: list[_BatchNorm]) -> Generator[None]:
    """Let batch norms forget their statistics, and average those of the mini-batches in the block.

    What synchronises them over processes is off: all processes see the same examples.
    """
    before = [(norm.momentum, vars(norm).pop("forward", None)) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch: the cumulative average
        norm.train()
    try:
        yield
    finally:
        for norm, (momentum, forward) in zip(norms, before, strict=True):
            norm.momentum = cast(float, momentum)
            norm.eval()
            if forward is not None:
                cast(Any, norm).forward = forward
