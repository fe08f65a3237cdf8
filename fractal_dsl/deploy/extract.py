"""Extracts the net of a run or of a compiled folder, whole or a column of it, for deployment."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from fractal_dsl.base.errors import UserError
from fractal_dsl.compiled import MAX_LAYERS, Compiled
from fractal_dsl.config import TrainConfig
from fractal_dsl.config.losses import TaskName
from fractal_dsl.data import ImageSet
from fractal_dsl.deploy.origin import Origin, open_origin
from fractal_dsl.evaluation.evaluate import as_trained, choose_device, images_for, to_stderr
from fractal_dsl.evaluation.measure import measure
from fractal_dsl.evaluation.run import Weights
from fractal_dsl.runtime.artifact import save_artifact
from fractal_dsl.runtime.fuse import alone, count_batchnorms, fuse
from fractal_dsl.runtime.graph_to_fx import routes_apart
from fractal_dsl.runtime.module import FractalModule

_BATCH = 256


@dataclass(frozen=True)
class Recalibration:
    """The data that batch-norm statistics were re-estimated on, and the test figures before and after."""

    dataset: str
    images: int
    before: dict[str, float]
    after: dict[str, float]
    task: TaskName = "classification"


@dataclass(frozen=True)
class Extraction:
    """The result of an extraction. ``folded`` and ``left`` count batch norms. Both are None without folding."""

    compiled: Compiled
    recalibration: Recalibration | None
    folded: int | None
    left: int | None


def extract(
    source: Path,
    column: int | None,
    output: Path,
    *,
    recalibrate_bn: bool = False,
    fold: bool = False,
    weights: Weights = "best",
    device: str | None = None,
    max_layers: int = MAX_LAYERS,
    allow_python: bool = False,
) -> Extraction:
    """Write a column of a run or of a compiled whole net, or the whole net (None), as a compiled network.

    The network of a run answers raw inputs with the bits of the run's own answers: it normalises them itself.
    ``recalibrate_bn`` re-estimates batch-norm statistics on the training examples (for a compiled network, those
    that its train block names). ``fold`` folds batch norms. The manifest describes the inputs and classes of a run, and
    what re-estimation changed. Raises UserError if there is no such column or no data, or the output is the source.
    """
    if output.exists() and source.exists() and output.samefile(source):
        raise UserError(f"{output} is the network itself, which would be replaced: choose another folder")
    origin = open_origin(source, weights, max_layers, allow_python)
    compiled, model, facts = origin.compiled, origin.model, dict(origin.facts)
    if column is not None and not model.join_graph.columns:
        raise UserError(f"net {compiled.program.net} has no columns to extract, because none of its rules has a join")
    net = (model if column is None else model.extract(column)).eval()
    recalibration = None
    if recalibrate_bn:
        recalibration = _recalibrated(net, column, origin, choose_device(device), allow_python)
        facts["recalibrated"] = asdict(recalibration)
    before = count_batchnorms(net)
    if fold:
        net = fuse(alone(net))
    save_artifact(compiled, net, output, column, fused=fold, facts=facts)
    left = count_batchnorms(net)
    return Extraction(compiled, recalibration, before - left if fold else None, left if fold else None)


def _recalibrated(
    net: FractalModule, column: int | None, origin: Origin, place: torch.device, allow_python: bool
) -> Recalibration:
    """Re-estimate the batch-norm statistics of a net, in place. It ends on the CPU."""
    if not count_batchnorms(net):
        subject = "net" if column is None else f"column {column} of"
        raise UserError(f"{subject} {origin.compiled.program.net} has no batch norm: omit --recalibrate-bn")
    images = images_for(
        net, origin.compiled, _with_data(origin.config, origin.folder), place, allow_python, origin.trained
    )
    if origin.trained is not None:
        images = as_trained(images, origin.trained, origin.folder, to_stderr)
    recalibration = recalibrate(net.to(place), images.raw() if origin.raw else images)
    net.cpu()
    return recalibration


def _with_data(config: TrainConfig, source: Path) -> TrainConfig:
    if config.dataset is None:
        raise UserError(
            f"--recalibrate-bn needs the training examples, but the spec in {source} names none: "
            "extract from the training run, or compile a spec whose `train` block has a `dataset`"
        )
    return config


def recalibrate(model: FractalModule, images: ImageSet) -> Recalibration:
    """Re-estimate the running statistics of a net's batch norms, in place, for the whole net and for each column.

    They become averages over all training examples, taken in order in equal mini-batches of at most 256. Batch norms
    run in train mode, everything else in eval mode.
    """
    before = measure(model, images, images.test, model.full_plan())
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch: the cumulative average
        norm.train()
    count = len(images.train)
    columns = range(1, model.n_columns + 1) if routes_apart(model.join_graph) else ()
    plans = [model.full_plan(), *map(model.column_plan, columns)]
    with torch.no_grad():
        for x, _ in images.batches(images.train, torch.arange(count).tensor_split(-(-count // _BATCH))):
            model.run_together(x, plans)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = cast(float, momentum)
        norm.eval()
    after = measure(model, images, images.test, model.full_plan())
    return Recalibration(images.name, count, before, after, images.task.name)
