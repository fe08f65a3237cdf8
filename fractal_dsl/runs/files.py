"""A run's figures and settings as plain data, without its weights: the input of a report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.parts import is_part, open_part, read_json
from fractal_dsl.runs import schema
from fractal_dsl.runs.data_record import DataRecord
from fractal_dsl.runs.mistakes import Mistake
from fractal_dsl.runs.parameters import all_parameters
from fractal_dsl.runs.parts import MISTAKES, SESSIONS
from fractal_dsl.runs.tasks import TASKS, figures_for, loss_axis
from fractal_dsl.runs.tasks import Figures as TaskFigures
from fractal_dsl.stored.kinds import expect
from fractal_dsl.stored.manifests import RunParameters, read_given

Measurements = Mapping[str, Any]


@dataclass(frozen=True)
class RunFiles:
    """A run, finished or not. ``result`` is None until the test examples are measured."""

    folder: Path
    given: RunParameters
    config: Measurements
    epochs: list[dict[str, Any]]
    result: Measurements | None
    plain: list[dict[str, Any]]
    paths: Measurements | None
    data: DataRecord | None
    status: str
    versions: Measurements
    sessions: Measurements | None
    mistakes: Sequence[Mistake]

    @classmethod
    def read(cls, folder: Path) -> RunFiles:
        """Read a run's folder. Raises UserError if it is not a run, or one of its files is damaged."""
        expect(folder, "training run")
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}")
        if not all(is_part(folder, name) for name in ("params.json", "config.json", "metrics.jsonl")):
            raise UserError(f"{folder} is not a training run: it has no params.json, config.json or metrics.jsonl")
        manifest = _json(folder, "manifest.json", schema.State) or {}
        data = DataRecord.read(folder)
        figures = figures_for(data.tasks, data.inputs.shape) if data else TASKS["classification"]
        result = _json(folder, "result.json", schema.Result)
        if result and (fault := schema.unmeasured(result, figures)):
            raise UserError(f"{folder / 'result.json'} is damaged: {fault}")
        epochs = _lines(folder, "metrics.jsonl", figures)
        measured = [*(e for e in epochs if any(schema.columns_of(e))), *([result] if result else [])]
        _check_columns(folder, "result.json", measured)
        return cls(
            folder,
            read_given(folder),
            _json(folder, "config.json", schema.NamedSettings) or {},
            epochs,
            result,
            _lines(folder, "plain/metrics.jsonl", figures),
            _json(folder, "paths.json", schema.Paths),
            data,
            result["status"] if result else manifest.get("status", "running"),
            manifest.get("versions", {}),
            _json(folder, SESSIONS, schema.Sessions),
            (_json(folder, MISTAKES, schema.Mistakes) or {"mistakes": []})["mistakes"],
        )

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def title(self) -> str:
        """The net and its data set."""
        return f"{self.given.net} on {self.config['dataset']['name']}"

    @property
    def figures(self) -> TaskFigures:
        """The figures of the run's task."""
        return figures_for(self.data.tasks, self.data.inputs.shape) if self.data else TASKS["classification"]

    @property
    def has_classes(self) -> bool:
        """Whether each example has one class."""
        return self.data is None or self.data.task == "classification"

    @property
    def loss_axis(self) -> str:
        """What the loss is, and in which unit."""
        if self.data and self.data.by_output:
            return "weighted sum of the losses of the outputs"
        task, loss = (self.data.task, self.data.loss) if self.data else ("classification", "cross_entropy")
        return loss_axis(task, loss)

    def settings(self) -> dict[str, str]:
        """Parameters and settings as texts under dotted keys, defaults included, without those that have no value."""
        return dict(flattened({"parameters": all_parameters(self.folder, self.given), **self.config}))

    def chosen(self) -> str:
        """Which weights were chosen as the best, and how."""
        if self.result is None:
            return "no weights are chosen yet"
        epoch, images = self.result["best_epoch"], self.result["validation_images"]
        kind = "running average of the weights" if self.config["ema"] else "weights"
        if not epoch:
            return f"{kind} at the stop: no epoch was finished"
        if not images:
            return f"{kind} of epoch {epoch}, the last: there were no validation {self.figures.examples} to choose by"
        judged = " of the whole net" if self.result["columns"] else ""
        if self.result.get("averaged"):
            judged = ", averaged over the whole net and each column"
        return (
            f"{kind} of epoch {epoch}, chosen by {self.figures.score.label}{judged}, then loss, on {images:,} "
            f"validation {self.figures.examples}; the test {self.figures.examples} played no part"
        )


def flattened(data: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """The values in nested mappings as texts under dotted keys, without those that are None."""
    rows: list[tuple[str, str]] = []
    for key, value in data.items():
        if isinstance(value, Mapping):
            rows += flattened(cast(Mapping[str, Any], value), f"{prefix}{key}.")
        elif value is not None:
            rows.append((prefix + key, value if isinstance(value, str) else json.dumps(value)))
    return rows


def _json(folder: Path, name: str, type: Any) -> dict[str, Any] | None:
    try:
        data = read_json(folder, name)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / name} cannot be read: {error}") from None
    if fault := schema.fault(data, type):
        raise UserError(f"{folder / name} is damaged: {fault}")
    return cast(dict[str, Any], data)


def _lines(folder: Path, name: str, figures: TaskFigures) -> list[dict[str, Any]]:
    try:
        with open_part(folder, name) as file:
            epochs = [json.loads(line) for line in file]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{folder / name} cannot be read: {error}") from None
    for line, epoch in enumerate(epochs, 1):
        if fault := schema.fault(epoch, schema.Epoch) or schema.unmeasured(epoch, figures):
            raise UserError(f"{folder / name} is damaged in line {line}: {fault}")
    _check_columns(folder, name, epochs)
    return epochs


def _check_columns(folder: Path, name: str, measured: list[dict[str, Any]]) -> None:
    """Raise UserError if not all figures are of the same columns."""
    listed = [columns for one in measured for columns in schema.columns_of(one)]
    if any(columns != listed[0] for columns in listed):
        raise UserError(f"{folder / name} is damaged: its figures are of different columns")
