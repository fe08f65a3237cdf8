"""The pictures of a run, as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fractal_dsl.base.escaping import plot_text
from fractal_dsl.runs.files import Measurements, RunFiles
from fractal_dsl.runs.plots import (
    BLACK,
    BLUE,
    DASHES,
    GREY,
    ORANGE,
    Drawing,
    colour,
    gradation,
    integer_epochs,
    plain_logarithms,
)
from fractal_dsl.runs.tasks import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Value = Callable[[float], str]


Style = dict[str, Any]


def _at_epoch(label: str, text: Value) -> Callable[[float, float], str]:
    """The text for a point of a line by epoch."""
    return lambda epoch, value: f"{label}, epoch {epoch:g}: {text(value)}"


def _loss(value: float) -> str:
    return f"{value:.4f}"


def curves_svg(run: RunFiles, salt: str = "curves") -> str:
    """Loss and score by epoch, on training and validation examples."""
    epochs, score, running = run.epochs, run.figures.score, run.figures.running
    with Drawing(2, salt) as drawing:
        losses, scores = drawing.axes
        x = [e["epoch"] for e in epochs]
        train: Style = {"label": "training", "color": ORANGE, "ls": "--", "marker": "o", "ms": 3}
        valid: Style = {"label": "validation", "color": BLUE, "marker": "o", "ms": 3}
        drawing.line(losses, x, [e["train_loss"] for e in epochs], text=_at_epoch("training", _loss), **train)
        if running == score:
            y = [score.plotted(e[f"train_{score.key}"]) for e in epochs]
            drawing.line(scores, x, y, text=_at_epoch("training", score.of_plotted), **train)
        if validated := [(e["epoch"], e["validation"]) for e in epochs if e["validation"]]:
            x = [epoch for epoch, _ in validated]
            drawing.line(losses, x, [v["loss"] for _, v in validated], text=_at_epoch("validation", _loss), **valid)
            y = [score.plotted(v[score.key]) for _, v in validated]
            drawing.line(scores, x, y, text=_at_epoch("validation", score.of_plotted), **valid)
        losses.set(title="Loss", xlabel="epoch", ylabel=run.loss_axis, yscale="log")
        scores.set(title=score.title, xlabel="epoch", ylabel=score.axis)
        if run.result and run.result["best_epoch"]:
            scores.axvline(run.result["best_epoch"], color="#999999", lw=1, ls=":", label="best weights")
        for axes in drawing.axes:
            integer_epochs(axes)
    return drawing.svg


_WHOLE: Style = {"label": "whole net", "color": BLACK, "lw": 2.2}


def _column(i: int) -> Style:
    return {"color": colour(i), "ls": DASHES[i % 4], "lw": 1.6}


def columns_svg(run: RunFiles, salt: str = "columns") -> str:
    """Each column alone: its validation score by epoch, if that was measured, and its final test score."""
    result, score, examples = run.result, run.figures.score, run.figures.examples
    assert result is not None
    with Drawing(2, salt) as drawing:
        over_time, final = drawing.axes
        names = [f"column {c['column']}" for c in result["columns"]]
        valid = [(e["epoch"], e["validation"]) for e in run.epochs if e["validation"]]
        x = [epoch for epoch, _ in valid]
        for i, name in enumerate(names if valid and valid[0][1]["columns"] else ()):
            y = [score.plotted(v["columns"][i][score.key]) for _, v in valid]
            drawing.line(over_time, x, y, text=_at_epoch(name, score.of_plotted), label=name, **_column(i))
        y = [score.plotted(v[score.key]) for _, v in valid]
        drawing.line(over_time, x, y, text=_at_epoch("whole net", score.of_plotted), **_WHOLE)
        over_time.set(title=f"Validation {examples}, by epoch", xlabel="epoch", ylabel=score.axis)
        integer_epochs(over_time)
        rows = [(f"column {c['column']}", c[score.key], colour(i)) for i, c in enumerate(result["columns"])]
        if result["plain"]:
            rows.append((f"column {result['plain']['column']} trained alone", result["plain"][score.key], GREY))
        rows.append(("whole net", result[score.key], BLACK))
        _bars(final, rows, score)
        final.set(title=f"Test {examples}, best weights", xlabel=score.axis)
    return drawing.svg


def _bars(axes: Axes, rows: Sequence[tuple[str, float, str]], score: Metric) -> None:
    """A bar for each name, value and colour."""
    values = [score.plotted(value) for _, value, _ in rows]
    bars = axes.barh([name for name, _, _ in rows], values, color=[c for _, _, c in rows], height=0.62)
    axes.bar_label(bars, [f"{v:.1f} %" if score.percent else score.short(v) for v in values], padding=4)
    if score.percent:
        axes.set_xlim(0, 115)
        axes.set_xticks(range(0, 101, 20))
    else:
        axes.set_xlim(0, 1.2 * max([*values, 1e-9]))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)


def losses_svg(run: RunFiles, salt: str = "losses") -> str:
    """The loss of each column alone during training, and of the plain net if one was trained (paper, figure 3)."""
    tracked = [e for e in run.epochs if "training" in e]
    validated = [e for e in run.epochs if e["validation"]]
    examples = run.figures.examples
    panels = [(f"Training {examples}", tracked, "training")] * bool(tracked)
    panels += [(f"Validation {examples}", validated, "validation")] * bool(validated)
    with Drawing(len(panels), salt) as drawing:
        for axes, (title, epochs, key) in zip(drawing.axes, panels, strict=True):
            x = [e["epoch"] for e in epochs]
            for i, column in enumerate(epochs[0][key]["columns"]):
                y = [e[key]["columns"][i]["loss"] for e in epochs]
                label = f"column {column['column']}"
                drawing.line(axes, x, y, text=_at_epoch(label, _loss), label=label, **_column(i))
            drawing.line(axes, x, [e[key]["loss"] for e in epochs], text=_at_epoch("whole net", _loss), **_WHOLE)
            alone = [e for e in run.plain if e.get(key)]
            if alone:
                label = f"column {run.config['plain']}'s layers, trained alone"
                y = [e[key]["loss"] for e in alone]
                x, style = [e["epoch"] for e in alone], {"color": GREY, "ls": "--", "lw": 1.8}
                drawing.line(axes, x, y, text=_at_epoch(label, _loss), label=label, **style)
            axes.set(title=title, xlabel="epoch", ylabel=run.loss_axis, yscale="log")
            integer_epochs(axes)
    return drawing.svg


def gradients_svg(run: RunFiles, salt: str = "gradients") -> str:
    """The norm of the gradient by depth, at up to five epochs."""
    nets = [("Whole net", run.epochs), (f"Column {run.config['plain']}'s layers, trained alone", run.plain)]
    panels = [(title, [e for e in epochs if "training" in e]) for title, epochs in nets]
    panels = [(title, epochs) for title, epochs in panels if epochs]
    with Drawing(len(panels), salt) as drawing:
        for axes, (title, epochs) in zip(drawing.axes, panels, strict=True):
            shown = _spread(epochs, 5)
            for i, e in enumerate(shown):
                y = [norm or float("nan") for norm in e["training"]["gradients"]]
                label = f"epoch {e['epoch']}"
                style = {"color": gradation(i, len(shown)), "marker": "o", "ms": 3}
                drawing.line(axes, range(1, len(y) + 1), y, text=_at_depth(label), label=label, **style)
            axes.set(title=title, xlabel="depth (layers with weights)", ylabel="gradient norm", yscale="log")
            _whole_numbers(axes)
            plain_logarithms(axes)
    return drawing.svg


def _at_depth(label: str) -> Callable[[float, float], str]:
    return lambda depth, norm: f"{label}, depth {depth:g}: {norm:.3g}"


def paths_svg(run: RunFiles, salt: str = "paths") -> str:
    """The number of paths by length, in the whole net and under drop-path."""
    paths = run.paths
    assert paths is not None
    with Drawing(1, salt) as drawing:
        (axes,) = drawing.axes
        x = paths["lengths"]
        whole, live = [[100 * share for share in paths[key]] for key in ("whole", "live")]
        axes.bar(x, whole, width=0.9, color="#BBBBBB", label=f"whole net: {_count(paths['total'])} paths")
        label = f"under drop-path: {_count(paths['expected'])} on average"
        style: Style = {"color": BLUE, "marker": "o", "ms": 3, "lw": 1.6}
        drawing.line(axes, x, live, text=lambda n, share: f"length {n:g}: {share:.2f} %", label=label, **style)
        axes.set(title="Paths by length", xlabel="length (layers with weights)", ylabel="share of paths (%)")
        _whole_numbers(axes)
    return drawing.svg


def overlay_svg(runs: Sequence[RunFiles], salt: str = "overlay") -> str:
    """The training loss and validation score of several runs in one picture: those of the first one's task."""
    score = runs[0].figures.score
    comparable = [run for run in runs if run.figures.score == score]

    def draw(axes: Axes, epochs: Callable[[RunFiles], list[Any]], value: Callable[[Any], float], text: Value) -> None:
        for i, run in enumerate(comparable):
            rows = epochs(run)
            y = [value(e) for e in rows]
            style: Style = {"color": colour(i), "ls": DASHES[i // 7 % 4], "lw": 1.6, "label": plot_text(run.name)}
            drawing.line(axes, [e["epoch"] for e in rows], y, text=_at_epoch(run.name, text), **style)
        integer_epochs(axes)

    with Drawing(2, salt) as drawing:
        losses, scores = drawing.axes
        losses.set(title="Training loss", xlabel="epoch", ylabel=runs[0].loss_axis, yscale="log")
        scores.set(title=f"Validation {score.label}", xlabel="epoch", ylabel=score.axis)
        draw(losses, lambda run: run.epochs, lambda e: e["train_loss"], _loss)
        draw(scores, _validated, lambda e: score.plotted(e["validation"][score.key]), score.of_plotted)
    return drawing.svg


def _validated(run: RunFiles) -> list[Measurements]:
    return [e for e in run.epochs if e["validation"]]


def _spread(items: list[Any], count: int) -> list[Any]:
    """The first item, the last, and some evenly spaced between them."""
    if len(items) <= count:
        return items
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def _count(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) and number < 10**9 else f"{number:.4g}"


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
