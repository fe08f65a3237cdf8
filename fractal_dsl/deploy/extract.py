"""Extracts a column of a trained or compiled net for deployment."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from fractal_dsl.base.errors import UserError
from fractal_dsl.compiled import MAX_LAYERS, Compiled
from fractal_dsl.config import TrainConfig, parse_config
from fractal_dsl.data import ImageSet
from fractal_dsl.evaluation.evaluate import as_trained, choose_device, images_for, measure, to_stderr
from fractal_dsl.evaluation.run import Run, Weights
from fractal_dsl.runs.data_record import DataRecord
from fractal_dsl.runtime.artifact import network_of, save_artifact
from fractal_dsl.runtime.fuse import count_batchnorms, fuse
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.stored.kinds import kind_of
from fractal_dsl.stored.spec import open_stored

_BATCH = 256


@dataclass(frozen=True)
class Recalibration:
    """The data that batch-norm statistics were re-estimated on, and the test loss and accuracy before and after."""

    dataset: str
    images: int
    before: dict[str, float]
    after: dict[str, float]


@dataclass(frozen=True)
class Extraction:
    """The result of an extraction. ``folded`` and ``left`` count batch norms; both are None without folding."""

    net: str
    recalibration: Recalibration | None
    folded: int | None
    left: int | None


def extract(
    source: Path,
    column: int,
    output: Path,
    *,
    recalibrate_bn: bool = False,
    fold: bool = False,
    weights: Weights = "best",
    device: str | None = None,
    max_layers: int = MAX_LAYERS,
    allow_python: bool = False,
) -> Extraction:
    """Write column ``column`` of a run, or of a compiled whole net, as a compiled network.

    ``recalibrate_bn`` re-estimates batch-norm statistics on the training images (for a compiled network, those that
    its train block names). ``fold`` folds batch norms. The manifest records how a run's images were normalised, and
    what re-estimation changed. Raises UserError if there is no such column or no data, or the output is the source.
    """
    if output.exists() and source.exists() and output.samefile(source):
        raise UserError(f"{output} is the network itself, which the column would replace: choose another folder")
    compiled, config, model, trained, facts = _network(source, weights, max_layers, allow_python)
    net = compiled.program.net
    if not model.join_graph.columns:
        raise UserError(f"net {net} has no columns to extract, because none of its rules has a join")
    plain = model.extract(column).eval()
    recalibration = None
    if recalibrate_bn:
        if not count_batchnorms(plain):
            raise UserError(f"column {column} of {net} has no batch norm: omit --recalibrate-bn")
        place = choose_device(device)
        images = images_for(plain, compiled, _with_data(config, source), place, allow_python)
        if trained is not None:
            images = as_trained(images, trained, source, to_stderr)
        recalibration = recalibrate(plain.to(place), images)
        plain.cpu()
    before = count_batchnorms(plain)
    if fold:
        plain = fuse(plain)
    if recalibration:
        facts["recalibrated"] = asdict(recalibration)
    save_artifact(compiled, plain, output, column, fused=fold, facts=facts)
    left = count_batchnorms(plain)
    return Extraction(net, recalibration, before - left if fold else None, left if fold else None)


def export(run: Path, output: Path, max_layers: int = MAX_LAYERS, *, allow_python: bool = False) -> Compiled:
    """Write the whole net of a run, with its best weights, as a compiled network. Return its spec.

    The manifest records how the run normalised its images. Raises UserError if the run is damaged.
    """
    compiled, _, model, _, facts = _of_run(run, "best", max_layers, allow_python)
    save_artifact(compiled, model, output, facts={**facts, "trained": {"run": run.resolve().name, "weights": "best"}})
    return compiled


_Network = tuple[Compiled, TrainConfig, FractalModule, DataRecord | None, dict[str, Any]]
"""A spec, its training settings, its net, the data record of a run, and the entries about it in the manifest."""


def _network(folder: Path, weights: Weights, max_layers: int, allow_python: bool) -> _Network:
    if kind_of(folder) != "compiled network":
        return _of_run(folder, weights, max_layers, allow_python)
    stored = open_stored(folder, max_layers, allow_python=allow_python)
    if stored.column is not None:
        raise UserError(f"{folder} is already a column: extract from the run or the whole net that it came from")
    known = {"classes": stored.network.classes, "normalisation": stored.network.normalisation}
    facts = {name: value for name, value in known.items() if value is not None}
    return stored.compiled, parse_config(stored.settings), network_of(stored), None, facts


def _of_run(folder: Path, weights: Weights, max_layers: int, allow_python: bool) -> _Network:
    run = Run.open(folder, max_layers, allow_python=allow_python)
    data = run.data()
    facts = {"classes": data.classes, "normalisation": {"mean": data.mean, "std": data.std}}
    return run.compiled, run.config, run.load(weights), data, facts


def _with_data(config: TrainConfig, source: Path) -> TrainConfig:
    if config.dataset is None:
        raise UserError(
            f"--recalibrate-bn needs the training images, but the spec in {source} names none: "
            "extract from the training run, or compile a spec whose `train` block has a `dataset`"
        )
    return config


def recalibrate(model: FractalModule, images: ImageSet) -> Recalibration:
    """Re-estimate the running statistics of an extracted column's batch norms, in place.

    They become averages over all training images, taken in order in equal mini-batches of at most 256. Batch norms run
    in train mode, everything else in eval mode.
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
    with torch.no_grad():
        for x, _ in images.batches(images.train, torch.arange(count).tensor_split(-(-count // _BATCH))):
            model(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = cast(float, momentum)
        norm.eval()
    return Recalibration(images.name, count, before, measure(model, images, images.test, model.full_plan()))
