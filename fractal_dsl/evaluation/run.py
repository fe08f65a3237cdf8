"""A training run as a folder: the net, the settings, the results and the weights.

``spec/``              the spec under its own name; the files that it imports, of any name, keep their places beside it
``last.safetensors``   the last weights
``best.safetensors``   the best weights, by validation
``params.json``        the net, its parameters, and which file in ``spec/`` is the main one
``config.json``        the resolved settings        ``metrics.jsonl``     a line for each epoch
``result.json``        the test figures             ``report.html``       the report; its pictures, ``*.svg``
``paths.json``         the paths by length, in the whole net and under drop-path, if the net is not too large
``gradients.json``     with --track-columns: the L2 norm of each layer's gradient, by module, after the last epoch
``data.json``          the training data: classes, inputs, normalisation, split, identity of the examples
``initial.safetensors`` the initial weights, if they were not drawn from the seed
``initial.json``       the source of the initial weights, with its hash, if the setting ``init_from`` names one
``epochs.json``        the numbers of epochs, in order, if the run was resumed with more
``manifest.json``      status, versions, graph hash, and the hash of each other file
``checkpoints/``       the two newest states to resume from; not in the manifest, because they change
``plain/``             on request: one column's architecture trained alone, with its own metrics.jsonl
``sessions.json``      the size of the net, and the date, command and device of each part of the training
``mistakes.json``      the test examples with the highest loss, as texts and pictures
``.lock``              the lock of the process that trains the run, with its host and process number
``.weights.json``      hashes of the weights, by which ``--resume`` recognises them even if the manifest is older
``tensorboard/``       on request; not in the manifest

These names are the program's (``runs/parts.py``); it leaves all other files in the folder alone. In format 1 the spec
was ``spec.frac`` at the top, with what it imports beside it; such runs still open and resume.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import command
from fractal_dsl.base.manifest import MANIFEST
from fractal_dsl.base.parts import read_json
from fractal_dsl.compiled import MAX_LAYERS, Compiled
from fractal_dsl.config import ConfigError, TrainConfig, parse_config
from fractal_dsl.runs.bundle import run_bundle
from fractal_dsl.runs.data_record import DataRecord
from fractal_dsl.runtime.artifact import graph_sha256, load_weights
from fractal_dsl.runtime.graph_to_fx import graph_to_modules
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.stored.kinds import expect, has_settings
from fractal_dsl.stored.manifests import RunManifest
from fractal_dsl.stored.spec import open_stored, run_settings, run_spec

Weights = Literal["best", "last"]
Status = Literal["running", "finished", "interrupted", "out of time", "diverged"]


@dataclass(frozen=True)
class Run:
    """A run that was opened and checked."""

    folder: Path
    compiled: Compiled
    config: TrainConfig
    manifest: RunManifest

    @classmethod
    def open(cls, folder: str | Path, max_layers: int = MAX_LAYERS, *, allow_python: bool = False) -> Run:
        """Check a run's files against its manifest and compile its spec.

        Raises UserError if a part is missing, altered or of another version, or the spec no longer compiles; FracError
        if it has Python code that is not allowed, or more layers than the limit.
        """
        folder = Path(folder)
        stored = open_stored(folder, max_layers, expected="training run", allow_python=allow_python)
        config, manifest = _config(folder, stored.settings), stored.run
        if graph_sha256(stored.compiled.graph) != manifest.graph_sha256:
            raise UserError(
                f"{folder} was trained with fractal_dsl {manifest.made}, which compiled its spec to another graph"
            )
        return cls(folder, stored.compiled, config, manifest)

    def load(self, weights: Weights = "best") -> FractalModule:
        """The net with the run's weights, in eval mode on the CPU. Raises UserError if they do not fit."""
        graph = self.compiled.graph
        model = FractalModule(graph, graph_to_modules(graph), self.config.seed)
        load_weights(model, [self.folder / f"{weights}.safetensors"])
        return model.eval()

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, net {self.compiled.program.net})"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """The curves of the run in a notebook."""
        return run_bundle(self.folder)

    def data(self) -> DataRecord:
        """The run's data record. Raises UserError for a run of an earlier version, which did not write it."""
        return data_of(self.folder)


@dataclass(frozen=True)
class RunResult:
    """How a run ended. ``measured`` has the test figures of the best weights, as ``measure_all`` gives them.

    ``ended`` is the reason: epochs, patience, interrupted or minutes. ``averaged`` says that the best weights were
    chosen by an average over the whole net and its columns. ``plain`` has the figures of one column's
    architecture trained alone, if requested.
    """

    folder: Path
    status: Status
    ended: str
    epochs: int
    best_epoch: int
    validation_images: int
    measured: dict[str, Any]
    averaged: bool
    plain: dict[str, Any] | None
    seconds: float
    images_per_second: float

    def json(self) -> dict[str, Any]:
        """The result as plain data, without the folder."""
        rest = {name: value for name, value in vars(self).items() if name not in ("folder", "measured")}
        return {**self.measured, **rest}

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """The curves of the run in a notebook."""
        return run_bundle(self.folder)


def data_of(folder: Path) -> DataRecord:
    """The data record of a run, finished or not. Raises UserError if it is missing or damaged."""
    record = DataRecord.read(folder)
    if record is None:
        raise UserError(
            f"{folder} was trained with an earlier version of fractal_dsl and has no data.json, "
            "the record of its data: train it again"
        )
    return record


def unfinished(folder: Path) -> Path:
    """The folder of a run, which need not be finished. Raises UserError if it is not a run."""
    expect(folder, "training run")
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    if not has_settings(folder):
        raise UserError(f"{folder} is not a training run that can be resumed: it has no spec or no settings")
    return folder


def spec_of_unfinished(
    folder: Path, max_layers: int = MAX_LAYERS, *, allow_python: bool = False, epochs: int | None = None
) -> tuple[Compiled, TrainConfig]:
    """The spec and settings of a run to resume, whose files are not checked against its manifest.

    ``epochs`` replaces the number of epochs in the settings. Raises UserError if it is lower, if the run has finished
    these epochs or diverged, or if its spec does not compile; FracError if the spec has Python
    code that is not allowed, or more layers than the limit.
    """
    status = _status(folder)
    before = _config(folder, run_settings(folder))
    config = before if epochs is None else _config(folder, {**run_settings(folder), "epochs": epochs})
    if config.epochs < before.epochs:
        raise UserError(f"{folder} has {before.epochs} epochs, and --epochs can only raise that, not to {epochs}")
    if status == "finished" and config.epochs == before.epochs:
        look = command("fractal-dsl", "report", str(folder))
        more = command("fractal-dsl", "train", "--resume", str(folder), "--epochs", str(2 * before.epochs))
        raise UserError(f"{folder} is finished. `{look}` shows it, and `{more}`, for example, trains it for longer")
    if status == "diverged":
        raise UserError(f"{folder} diverged; resuming would diverge again: train a new run with a lower learning rate")
    return run_spec(folder, max_layers, allow_python=allow_python), config


def _status(folder: Path) -> Status | None:
    try:
        return read_json(folder, MANIFEST)["status"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _config(folder: Path, settings: Mapping[str, Any]) -> TrainConfig:
    try:
        return parse_config(settings)
    except ConfigError as error:
        raise UserError(f"{folder / 'config.json'}: this version does not accept these settings: \n{error}") from None
