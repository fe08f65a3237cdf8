"""The figures of each task: their names, their texts, and which direction is better. Everything that measures, compares
or draws runs takes them from here."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from fractal_dsl.config.losses import LossName, TaskName


class Metric(Struct, frozen=True):
    """A figure of a net. ``key`` is its name in files and JSON, ``label`` its name for people.

    ``axis`` describes it beside a plot; a share is plotted in percent.
    """

    key: str
    label: str
    axis: str
    percent: bool = False
    higher: bool = True

    def text(self, value: float) -> str:
        """The value in full, such as ``91.67%`` or ``0.4312``."""
        return f"{value:.2%}" if self.percent else f"{value:.4f}" if abs(value) < 1000 else f"{value:,.4g}"

    def short(self, value: float) -> str:
        """The value in few characters."""
        return f"{value:.1%}" if self.percent else f"{value:.3g}"

    def plotted(self, value: float) -> float:
        """The value on the scale of ``axis``."""
        return 100 * value if self.percent else value

    def merit(self, value: float) -> float:
        """The value with a sign, so that a larger one is better."""
        return value if self.higher else -value


class Figures(Struct, frozen=True):
    """The figures of a task. ``metrics`` are measured in evaluation, and the first of them is the score, by which the
    best weights are chosen. ``running`` is shown during training."""

    metrics: tuple[Metric, ...]
    running: Metric

    @property
    def score(self) -> Metric:
        """The figure that decides."""
        return self.metrics[0]


_ACCURACY = Metric("accuracy", "accuracy", "images classified correctly (%)", percent=True)

TASKS: Final[dict[TaskName, Figures]] = {
    "classification": Figures((_ACCURACY,), _ACCURACY),
}

LOSS_UNITS: Final[dict[LossName, str]] = {
    "cross_entropy": "cross-entropy (nats per image)",
}
