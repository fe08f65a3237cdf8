"""What networks are deployed from: a training run, or a compiled whole net."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fractal_dsl.base.errors import UserError
from fractal_dsl.compiled import Compiled
from fractal_dsl.config import TrainConfig, parse_config
from fractal_dsl.data.inputs import decoding
from fractal_dsl.evaluation.run import Run, Weights
from fractal_dsl.graph.passes.raw_ends import raw_ends
from fractal_dsl.runs.data_record import DataRecord
from fractal_dsl.runtime.artifact import network_of
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.raw import ChannelMoments, on_raw_data
from fractal_dsl.stored.kinds import kind_of
from fractal_dsl.stored.spec import Stored, open_stored


@dataclass(frozen=True)
class Origin:
    """What networks are deployed from: a run, or a compiled network.

    ``model`` takes raw inputs if ``raw``. ``trained`` is the data record of a run, and ``running`` says that it had not
    ended when it was opened. ``facts`` are entries about the data in the manifest.
    """

    folder: Path
    compiled: Compiled
    config: TrainConfig
    model: FractalModule
    raw: bool
    trained: DataRecord | None
    facts: dict[str, Any]
    running: bool = False


def open_origin(folder: Path, weights: Weights, max_layers: int, allow_python: bool) -> Origin:
    """Open a run or a compiled whole net. Raises UserError if it is neither, or is damaged."""
    if kind_of(folder) == "compiled network":
        return _of_network(open_stored(folder, max_layers, allow_python=allow_python))
    run = Run.open(folder, max_layers, allow_python=allow_python)
    data, model = run.data(), run.load(weights)
    raw = on_raw_data(model, *_moments(data, model))
    facts = data_facts(data, model) | {"trained": {"run": folder.resolve().name, "weights": weights}}
    return Origin(folder, run.compiled, run.config, raw, True, data, facts, run.manifest.status == "running")


Moments = dict[str, ChannelMoments]


def _moments(data: DataRecord, model: FractalModule) -> tuple[Moments, Moments]:
    """The means and deviations of the inputs' channels and of the targets' channels, by the names of a net's ends."""
    inputs: Moments = {name: (one.mean, one.std) for name, one in data.by_input.items()}
    targets = {name: one.targets for name, one in data.by_output.items()} or {next(iter(model.outputs)): data.targets}
    outputs: Moments = {name: (one.mean, one.std) for name, one in targets.items() if one is not None}
    return inputs or {next(iter(model.inputs)): (data.mean, data.std)}, outputs


_FACTS = (
    *("dataset", "classes", "inputs", "decoding", "normalisation", "task", "targets"),
    *("by_input", "by_output", "trained"),
)


def _of_network(stored: Stored) -> Origin:
    manifest = stored.network
    if stored.column is not None or manifest.fused:
        reason = "already a column" if stored.column is not None else "already folded for inference"
        raise UserError(f"{stored.folder} is {reason}: extract from the run or the whole net that it came from")
    known = {name: getattr(manifest, name) for name in _FACTS}
    facts = {name: value for name, value in known.items() if value not in (None, {})}
    model = network_of(stored)
    raw = bool(raw_ends(model.join_graph))
    return Origin(stored.folder, stored.compiled, parse_config(stored.settings), model, raw, None, facts)


def data_facts(data: DataRecord, model: FractalModule) -> dict[str, Any]:
    """What a manifest says about a run's data: raw inputs, how image files become inputs, the task and its classes."""
    facts: dict[str, Any] = {
        "dataset": data.dataset,
        "classes": data.classes,
        "inputs": msgspec.to_builtins(data.inputs),
        "normalisation": {"mean": data.mean, "std": data.std},
        "task": data.task,
    }
    if data.targets is not None:
        facts["targets"] = msgspec.to_builtins(data.targets)
    if data.by_input:
        facts["by_input"] = msgspec.to_builtins(data.by_input)
    if data.by_output:
        facts["by_output"] = msgspec.to_builtins(data.by_output)
    if len(model.inputs) == 1 and (decoded := decoding(model.input, data)) is not None:
        rules, scale = decoded
        facts["decoding"] = {**msgspec.to_builtins(rules), "scale": scale}
    return facts
