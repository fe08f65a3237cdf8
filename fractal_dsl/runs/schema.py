"""What the files of a run must hold for a report: a run may come from others, or be edited by hand."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict, cast

import msgspec

from fractal_dsl.base.json_faults import explained
from fractal_dsl.runs.mistakes import Mistake
from fractal_dsl.runs.tasks import Figures

Natural = Annotated[int, msgspec.Meta(ge=0)]


class MeasuredFigures(TypedDict):
    """``loss``, and the metrics of the task, which ``unmeasured`` checks."""

    loss: float


class ColumnFigures(MeasuredFigures):
    """A column alone, counted from 1."""

    column: Natural


class Validated(MeasuredFigures):
    """The whole net and each column."""

    columns: list[ColumnFigures]


class ColumnLoss(TypedDict):
    """The loss of a column on training examples."""

    column: Natural
    loss: float


class Tracked(TypedDict):
    """Losses on training examples, and the norm of the gradient by depth."""

    loss: float
    columns: list[ColumnLoss]
    gradients: list[float | None]


class Epoch(TypedDict):
    """A line of ``metrics.jsonl``. ``waiting`` is the share of the ``seconds`` that was spent waiting for data."""

    epoch: Natural
    train_loss: float
    seconds: NotRequired[float]
    waiting: NotRequired[float]
    memory: float
    validation: Validated | None
    training: NotRequired[Tracked]


class Result(Validated):
    """``result.json``. ``averaged`` says that the best weights were chosen by an average over columns."""

    status: str
    ended: str
    best_epoch: Natural
    validation_images: Natural
    plain: ColumnFigures | None
    seconds: float
    images_per_second: float
    averaged: NotRequired[bool]
    confusion: NotRequired[list[list[Natural]]]


class Session(TypedDict):
    """A part of the training. ``began`` is a date and time, ``command`` None if it was started from Python."""

    began: str
    command: str | None
    device: str


class Sessions(TypedDict):
    """``sessions.json``. ``macs`` are multiply-accumulates for one example."""

    parameters: Natural
    macs: Natural
    sessions: list[Session]


class Mistakes(TypedDict):
    """``mistakes.json``."""

    mistakes: list[Mistake]


class Paths(TypedDict):
    """``paths.json``: of each length, the share of paths."""

    lengths: list[Natural]
    whole: list[float]
    live: list[float]
    total: Natural
    expected: float


class _Named(TypedDict):
    name: str


class NamedSettings(TypedDict):
    """The settings in ``config.json`` that a report names."""

    dataset: _Named
    ema: float | None
    plain: Natural | None


class State(TypedDict):
    """What a report needs of ``manifest.json``, which a run that has just begun does not have."""

    status: str
    versions: dict[str, str]


def fault(data: Any, type: Any) -> str | None:
    """What is wrong with data that should be of a type; None if nothing is."""
    try:
        msgspec.convert(data, type)
    except msgspec.ValidationError as error:
        return explained(error)
    if type is Result and (counts := data.get("confusion")) and {len(counts)} != {*map(len, counts)}:
        return "`confusion` is not square"
    if type is Paths and len({len(data[key]) for key in ("lengths", "whole", "live")}) > 1:
        return "`lengths`, `whole` and `live` differ in length"
    return None


def unmeasured(data: Any, figures: Figures) -> str | None:
    """What is wrong with the metrics in data of the type Epoch or Result; None if nothing is.

    The score must be there; runs of earlier versions lack the others. So must those of further outputs.
    """
    metrics = _metrics(figures)
    if "epoch" in data:
        running = msgspec.defstruct("running", [(f"train_{figures.running.key}", float)])
        whole, plain, others = data["validation"], None, [(data, running)]
    else:
        whole, plain, others = data, data["plain"], []
    measured = [part for part in (whole, *(whole["columns"] if whole else ()), plain) if part]
    outputs = [(_output(part, name), own) for part in measured for name, own in figures.others.items()]
    others += [*((part, metrics) for part in measured), *((part, _metrics(own)) for part, own in outputs)]
    others += [(part, MeasuredFigures) for part, _ in outputs]
    faults = (fault(part, type) for part, type in others)
    return next((text for text in faults if text), None)


def _metrics(figures: Figures) -> Any:
    """The type of the metrics of an output."""
    rest = [(m.key, float, 0.0) for m in figures.metrics[1:]]
    return msgspec.defstruct("metrics", [(figures.score.key, float), *rest])


def _output(part: Any, name: str) -> Any:
    """The figures of an output; None if there are none, which is a fault."""
    outputs = part.get("outputs")
    return cast(dict[str, Any], outputs).get(name) if isinstance(outputs, dict) else None


def columns_of(measured: Any) -> list[list[int]]:
    """The columns that an epoch or a result lists, for each part of the data that it was measured on."""
    parts = [measured.get(key) for key in ("validation", "training")] if "epoch" in measured else [measured]
    return [[column["column"] for column in part["columns"]] for part in parts if part]
