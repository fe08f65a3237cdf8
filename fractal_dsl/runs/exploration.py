"""Pictures of many runs: the score against each setting, over time, by importance, and in parallel coordinates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from msgspec import Struct

from fractal_dsl.base.escaping import plot_text
from fractal_dsl.runs.axes import scale_of
from fractal_dsl.runs.plots import BLACK, BLUE, GREY, PAPER, Drawing, PlotText, gradation
from fractal_dsl.runs.tasks import Metric

MAX_SETTINGS = 12
"""Settings in one picture; more lines than that cannot be told apart."""
RING = "Ringed: the best."
PARALLEL = "A line for each run, from its settings to its score, from green, the worst, to blue. The best is thick."
_ROW, _WIDE = 3, 10.8


class Setting(Struct, frozen=True):
    """A setting, with its value in each run."""

    name: str
    values: tuple[float | str, ...]


class Explored(Struct, frozen=True):
    """Runs by name, with the settings in which they differ and their scores."""

    names: tuple[str, ...]
    settings: tuple[Setting, ...]
    scores: tuple[float, ...]
    metric: Metric
    what: str
    """What was measured: "validation" or "test"."""

    def best(self) -> int:
        """The number of the best run, from 0."""
        return max(range(len(self.scores)), key=lambda i: self.metric.merit(self.scores[i]))

    def varying(self) -> list[Setting]:
        """The settings with more than one value, at most MAX_SETTINGS."""
        return [s for s in self.settings if len(set(s.values)) > 1][:MAX_SETTINGS]

    def text(self, i: int) -> str:
        """A run and its score."""
        return f"{self.names[i]}: {self.metric.text(self.scores[i])}"


def settings_svgs(runs: Explored, salt: str) -> list[str]:
    """The score against each setting, three in a row."""
    settings = runs.varying()
    return [_settings(runs, settings[i : i + _ROW], f"{salt}-{i}") for i in range(0, len(settings), _ROW)]


def _settings(runs: Explored, settings: Sequence[Setting], salt: str) -> str:
    y, best = [runs.metric.plotted(score) for score in runs.scores], runs.best()
    with Drawing(len(settings), salt) as drawing:
        for axes, setting in zip(drawing.axes, settings, strict=True):
            scale = scale_of(setting.values)
            x = [scale.place(v) for v in setting.values]
            texts = [f"{runs.text(i)}, {setting.name} {v}" for i, v in enumerate(setting.values)]
            drawing.line(axes, x, y, "_", _in_turn(texts), color=BLUE, ls="", marker="o", alpha=0.75)
            axes.plot(x[best], y[best], ls="", marker="o", ms=11, mfc="none", mec=BLACK, mew=1.1)
            axes.set(title=plot_text(setting.name))
            axes.set_xticks([place for place, _ in scale.ticks], [plot_text(text) for _, text in scale.ticks])
            axes.margins(x=0.12, y=0.1)
        drawing.axes[0].set_ylabel(f"{runs.what}: {runs.metric.axis}")
    return drawing.svg


def history_svg(numbers: Sequence[int], runs: Explored, salt: str) -> str:
    """The score of each run in the order of their numbers, and the best so far."""
    from matplotlib.ticker import MaxNLocator

    order = sorted(range(len(numbers)), key=lambda i: numbers[i])
    x, scores = [float(numbers[i]) for i in order], [runs.scores[i] for i in order]
    so_far = [max(scores[: i + 1], key=runs.metric.merit) for i in range(len(scores))]
    with Drawing(1, salt, width=_WIDE) as drawing:
        (axes,) = drawing.axes
        axes.step(x, [runs.metric.plotted(s) for s in so_far], where="post", color=GREY, label="best so far")
        y = [runs.metric.plotted(s) for s in scores]
        drawing.line(axes, x, y, "trial", _in_turn([runs.text(i) for i in order]), color=BLUE, ls="", marker="o")
        axes.set(xlabel="trial", ylabel=f"{runs.what}: {runs.metric.axis}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    return drawing.svg


def importance_svg(importances: Mapping[str, float], salt: str) -> str:
    """Bars, the most important setting first."""
    names = sorted(importances, key=lambda name: importances[name])
    with Drawing(1, salt, width=_WIDE) as drawing:
        (axes,) = drawing.axes
        places = list(range(len(names)))
        axes.barh(places, [importances[name] for name in names], color=BLUE, height=0.6)
        axes.set_yticks(places, [plot_text(name) for name in names])
        for place, name in zip(places, names, strict=True):
            axes.annotate(f"{importances[name]:.0%}", (importances[name], place), (4, -4), textcoords="offset points")
        axes.set(xlim=(0, 1.1 * max(importances.values())), xticks=[])
        axes.grid(visible=False)
    return drawing.svg


def parallel_svg(runs: Explored, salt: str) -> str:
    """A line for each run through its settings to its score; the best is thick."""
    settings = runs.varying()
    scales = [scale_of(setting.values) for setting in settings]
    score = scale_of(tuple([runs.metric.plotted(s) for s in runs.scores]))
    order = sorted(range(len(runs.names)), key=lambda i: runs.metric.merit(runs.scores[i]))
    with Drawing(1, salt, width=max(7.0, 2.0 * (len(settings) + 1))) as drawing:
        (axes,) = drawing.axes
        for rank, i in enumerate(order):
            values = [scale.share(setting.values[i]) for scale, setting in zip(scales, settings, strict=True)]
            values.append(score.share(runs.metric.plotted(runs.scores[i])))
            style = {"lw": 2.6, "color": BLACK} if i == order[-1] else {"lw": 1.2, "color": gradation(rank, len(order))}
            drawing.line(axes, range(len(values)), values, "_", _in_turn([runs.text(i)] * len(values)), **style)
        for x, scale in enumerate([*scales, score]):
            axes.axvline(x, color=GREY, lw=0.8)
            for place, text in scale.ticks:
                at = (x, scale.share_of(place))
                behind = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 1}
                axes.annotate(plot_text(text), at, (5, -3), textcoords="offset points", size=9, bbox=behind)
        titles = [*[setting.name for setting in settings], f"{runs.what} {runs.metric.label}"]
        axes.set_xticks(range(len(titles)), [plot_text(title) for title in titles])
        axes.set(yticks=[], xlim=(-0.15, len(settings) + 0.6), ylim=(-0.06, 1.06))
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(length=0)
    return drawing.svg


def _in_turn(texts: Sequence[str]) -> PlotText:
    """The texts, one for each point."""
    waiting = iter(texts)
    return lambda x, y: next(waiting)


def number_or_text(text: str) -> float | str:
    """A value as a number where it is one."""
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text
