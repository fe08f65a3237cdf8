"""The figures of each task: their names, their texts, and which direction is better. Everything that measures, compares
or draws runs takes them from here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl.base.errors import UserError
from fractal_dsl.config.losses import LOSSES, LossName, TaskName

TokenUnit = Literal["token", "byte"]
"""What one token of a token model stands for."""


class Metric(Struct, frozen=True):
    """A figure of a net. ``key`` is its name in files and JSON, ``label`` its name for people.

    ``axis`` describes it beside a plot; a share is plotted in percent.
    """

    key: str
    label: str
    axis: str
    percent: bool = False
    higher: bool = True

    @property
    def title(self) -> str:
        """The label with a capital."""
        return self.label[:1].upper() + self.label[1:]

    def text(self, value: float) -> str:
        """The value in full, such as ``91.67%`` or ``0.4312``."""
        return f"{value:.2%}" if self.percent else f"{value:.4f}" if abs(value) < 1000 else f"{value:,.4g}"

    def short(self, value: float) -> str:
        """The value in few characters."""
        return f"{value:.1%}" if self.percent else f"{value:.4g}"

    def plotted(self, value: float) -> float:
        """The value on the scale of ``axis``."""
        return 100 * value if self.percent else value

    def of_plotted(self, value: float) -> str:
        """The text of a value on the scale of ``axis``."""
        return self.text(value / 100 if self.percent else value)

    def merit(self, value: float) -> float:
        """The value with a sign, so that a larger one is better."""
        return value if self.higher else -value


class Figures(Struct, frozen=True):
    """The figures of a task. ``metrics`` are measured in evaluation, and the first of them is the score, by which the
    best weights are chosen. ``running`` is shown during training."""

    metrics: tuple[Metric, ...]
    running: Metric
    examples: str = "examples"
    """What people call the examples."""
    others: dict[str, Figures] = {}
    """Those of further outputs of a net, by name."""

    @property
    def score(self) -> Metric:
        """The figure that decides."""
        return self.metrics[0]

    def of(self, measured: Mapping[str, object]) -> tuple[Metric, ...]:
        """The metrics that were measured: some need more classes, or another kind of token."""
        return tuple(m for m in self.metrics if m.key in measured)


def _share(key: str, label: str, axis: str) -> Metric:
    return Metric(key, label, f"{axis} (%)", percent=True)


_ACCURACY = _share("accuracy", "accuracy", "classified correctly")
_PIXELS = _share("pixel_accuracy", "pixel accuracy", "pixels classified correctly")
_TOKENS = _share("accuracy", "accuracy", "tokens predicted correctly")
_MAE = Metric("mae", "MAE", "mean absolute error", higher=False)

TASKS: Final[dict[TaskName, Figures]] = {
    "classification": Figures(
        (
            _ACCURACY,
            _share("top5", "top-5 accuracy", "class among the best five"),
            Metric("macro_f1", "macro F1", "F1, mean over classes"),
        ),
        _ACCURACY,
        "images",
    ),
    "multilabel": Figures(
        (
            Metric("mean_average_precision", "mean average precision", "average precision, mean over labels"),
            Metric("f1", "F1", "F1, mean over labels"),
        ),
        _share("label_accuracy", "label accuracy", "labels predicted correctly"),
    ),
    "regression": Figures(
        (
            Metric("rmse", "RMSE", "root mean squared error", higher=False),
            _MAE,
            Metric("r2", "R²", "R²"),
        ),
        _MAE,
    ),
    "segmentation": Figures(
        (_share("mean_iou", "mean IoU", "intersection over union, mean over classes"), _PIXELS), _PIXELS, "images"
    ),
    "tokens": Figures(
        (
            Metric("perplexity", "perplexity", "perplexity", higher=False),
            Metric("bits_per_token", "bits per token", "bits per token", higher=False),
            Metric("bits_per_byte", "bits per byte", "bits per byte", higher=False),
            _TOKENS,
        ),
        _TOKENS,
    ),
}


def metric_of(task: TaskName, key: str) -> Metric:
    """A metric of a task, or its loss, by key. Raises UserError if the task has no such figure."""
    metrics = {"loss": Metric("loss", "loss", loss_axis(task, LOSSES[task][0]), higher=False)}
    metrics |= {m.key: m for m in TASKS[task].metrics}
    if key not in metrics:
        raise UserError(f"{task} has no figure `{key}`: there are {', '.join(f'`{name}`' for name in metrics)}")
    return metrics[key]


CONFIDENCES: Final[dict[TaskName, str]] = {
    "classification": "largest softmax probability",
    "multilabel": "probability of the most doubtful label",
    "segmentation": "largest softmax probability, mean over pixels",
    "tokens": "largest softmax probability, mean over tokens",
}
"""What the confidence of an answer is. Outputs of other tasks tell none."""

_PER: Final[dict[TaskName, str]] = {
    "classification": "example",
    "multilabel": "label",
    "segmentation": "pixel",
    "tokens": "token",
}


def figures_for(tasks: Mapping[str, TaskName], shape: Sequence[int]) -> Figures:
    """The figures of a net with these tasks by output, the first of which decides, for inputs of a shape, without the
    batch: only inputs of three axes are called images."""
    figures, *others = [TASKS[task] for task in tasks.values()]
    examples = figures.examples if len(shape) == 3 else "examples"
    return replace(figures, examples=examples, others=dict(zip([*tasks][1:], others, strict=True)))


def loss_axis(task: TaskName, loss: LossName) -> str:
    """What the loss of a task is, and in which unit."""
    match loss:
        case "cross_entropy" | "binary_cross_entropy":
            return f"cross-entropy (nats per {_PER[task]})"
        case "squared" | "absolute":
            return f"{loss} error (standard units)"
        case "huber":
            return "Huber's loss (standard units)"
