"""Extracts the net of a run or of a compiled folder, whole or a column of it, for deployment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fractal_dsl.base.errors import UserError
from fractal_dsl.compiled import MAX_LAYERS, Compiled
from fractal_dsl.deploy.origin import Origin, open_origin
from fractal_dsl.deploy.recalibration import Recalibration, recalibrated
from fractal_dsl.evaluation.evaluate import choose_device
from fractal_dsl.evaluation.run import Weights
from fractal_dsl.runtime.artifact import save_artifact
from fractal_dsl.runtime.fuse import alone, count_batchnorms, fuse


@dataclass(frozen=True)
class Extraction:
    """The result of an extraction. ``folded`` and ``left`` count batch norms. Both are None without folding."""

    compiled: Compiled
    recalibration: Recalibration | None
    folded: int | None
    left: int | None


def _settings(origin: Origin) -> dict[str, Any] | None:
    """The settings that trained a run, so that training can go on with them; None for a compiled network.

    The network's weights take the place of those that ``init_from`` named.
    """
    if origin.trained is None:
        return None
    return {name: value for name, value in origin.config.model_dump(mode="json").items() if name != "init_from"}


def extract(
    source: Path,
    column: int | None,
    output: Path,
    *,
    recalibrate: bool = False,
    fold: bool = False,
    weights: Weights = "best",
    device: str | None = None,
    max_layers: int = MAX_LAYERS,
    allow_python: bool = False,
) -> Extraction:
    """Write a column of a run or of a compiled whole net, or the whole net (None), as a compiled network.

    The network of a run answers raw inputs with the bits of the run's own answers: it normalises them itself.
    ``recalibrate`` re-estimates batch-norm statistics on training examples (for a compiled network, those that its
    train block names). ``fold`` folds batch norms. The manifest describes the inputs and classes of a run, and what
    re-estimation changed. Raises UserError if there is no such column or no data, or the output is the source.
    """
    if output.exists() and source.exists() and output.samefile(source):
        raise UserError(f"{output} is the network itself, which would be replaced: choose another folder")
    origin = open_origin(source, weights, max_layers, allow_python)
    compiled, model = origin.compiled, origin.model
    if column is not None and not model.join_graph.columns:
        raise UserError(f"net {compiled.program.net} has no columns to extract, because none of its rules has a join")
    recalibration = None
    if recalibrate:
        origin, recalibration = recalibrated(origin, column, choose_device(device), allow_python=allow_python)
    net = (model if column is None else model.extract(column)).eval()
    before = count_batchnorms(net)
    if fold:
        net = fuse(alone(net))
    save_artifact(compiled, net, output, column, fused=fold, facts=origin.facts, settings=_settings(origin))
    left = count_batchnorms(net)
    return Extraction(compiled, recalibration, before - left if fold else None, left if fold else None)
