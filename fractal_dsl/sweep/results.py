"""The results of a sweep as a table, a picture and a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import command, markup, one_line, plot_text
from fractal_dsl.base.parts import write_part
from fractal_dsl.base.texts import aligned, duration
from fractal_dsl.runs.exploration import Explored, Setting, number_or_text
from fractal_dsl.runs.page import Cell, figure, page, sorted_table
from fractal_dsl.runs.plots import BLACK, BLUE, Drawing, colour
from fractal_dsl.sweep.folder import SweepFolder, lines_of
from fractal_dsl.sweep.ledger import ERROR, Ledger
from fractal_dsl.sweep.sections import sections

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna.trial import FrozenTrial

_STYLE = """\
div { overflow-x: auto }
th, td { text-align: right }
th:first-child, td:first-child, th:last-child, td:last-child { text-align: left }
tr.best td { font-weight: 600 }
"""


@dataclass(frozen=True)
class TrialRow:
    """A trial as shown to people. ``value`` is its objective if it is done. ``best`` means that no trial beats it."""

    number: int
    state: str
    values: tuple[str, ...]
    value: float | None
    sizes: dict[str, int]
    seconds: float | None
    note: str
    best: bool


class Results:
    """The trials of a sweep: finished ones, best first, then the others."""

    def __init__(self, ledger: Ledger) -> None:
        from optuna.trial import TrialState

        self.sweep, self.ledger = ledger.sweep, ledger
        trials = ledger.trials()
        best = {t.number for t in ledger.study.best_trials if t.state == TrialState.COMPLETE}
        self.rows = [self._row(t, t.number in best) for t in trials]
        order = ["done", "pruned", "running", "waiting", "failed"]
        self.rows.sort(key=lambda r: (order.index(r.state), -self.sweep.aim.merit(r.value or 0), r.number))

    def show(self, console: Console) -> None:
        """Print the table, and below it the errors of failed trials."""
        rows = [self._cells(replace(row, note="") if row.state == "failed" else row) for row in self.rows]
        head, *lines = aligned([self._head(), *rows], "<" + ">" * (len(self._head()) - 2) + "<")
        console.print(Text(head, style="bold"), soft_wrap=True)
        for row, line in zip(self.rows, lines, strict=True):
            console.print(Text(line, style="bold" if row.best else ""), soft_wrap=True)
        for row in self.rows:
            if row.state == "failed":
                line = f"trial {row.number} failed: {row.note}"
                console.print(Text(one_line(line)), soft_wrap=True)

    def write(self, folder: Path) -> None:
        """Write ``sweep.svg`` and ``sweep.html``."""
        svg = self.svg()
        if svg:
            write_part(folder, "sweep.svg", svg)
        write_part(folder, "sweep.html", self.html(svg))

    def conclusion(self, folder: SweepFolder) -> str:
        """The outcome, and the command that shows it. Raises UserError if no trial finished."""
        done = [r for r in self.rows if r.state == "done"]
        if not done:
            error = next((f"; the first failure: {r.note}" for r in self.rows if r.state == "failed"), "")
            raise UserError(f"no trial finished{error}")
        best = [r for r in done if r.best]
        look = command("fractal-dsl", "report", str(folder.trial(best[0].number)))
        if self.sweep.minimize:
            return f"{len(best)} trials are best for their {_NAMES[self.sweep.minimize]}, marked *; {look}"
        return f"the best is trial {best[0].number}: {self._value(best[0])} on the validation examples; {look}"

    def html(self, svg: str | None) -> str:
        """The page, which needs no other file. It links to the reports of the trials."""
        rows = [("best" * row.best, self._sorted_cells(row)) for row in self.rows]
        plots = [figure(svg, self._caption())] if svg else []
        swept = ", ".join(f"{a.name}={a.given}" for a in self.sweep.space)
        note = f"{swept}. {len(self.rows)} trials; the {self._value_name()} is that of the best epoch."
        title = f"Sweep of {self.sweep.net}"
        head = [f"<h1>{markup(title)}</h1>", f'<p class="note">{markup(note)}</p>']
        trials = ["<h2>Trials</h2>", sorted_table(self._head(), rows)]
        return page(title, [*head, *plots, *sections(self.explored(), self.ledger), *trials], "96rem", _STYLE)

    def explored(self) -> Explored | None:
        """The finished trials with their values; None if there are fewer than two."""
        done = [row for row in self.rows if row.state == "done" and row.value is not None]
        if len(done) < 2:
            return None
        axes = [
            Setting(axis.name, tuple([number_or_text(row.values[k]) for row in done]))
            for k, axis in enumerate(self.sweep.space)
        ]
        names = tuple([f"trial {row.number}" for row in done])
        return Explored(names, tuple(axes), tuple([row.value or 0.0 for row in done]), self.sweep.aim, "validation")

    def _sorted_cells(self, row: TrialRow) -> list[Cell]:
        first, *rest = map(markup, self._cells(row))
        first = f'<a href="trial-{row.number:04}/report.html">{first}</a>' if row.state == "done" else first
        given = [number_or_text(text) if text else None for text in row.values]
        values = [row.number, *given, row.value, row.sizes.get("params"), row.sizes.get("macs"), row.seconds, row.state]
        return [Cell(html, value) for html, value in zip([first, *rest], values, strict=True)]

    def svg(self) -> str | None:
        """A plot of the objective against parameters, MACs and training time; None if no trial is done."""
        done = [r for r in self.rows if r.state == "done" and r.value is not None]
        if not done:
            return None
        aim = self.sweep.aim
        axis, shades = self._shades(done)
        with Drawing(3, "sweep", beside=plot_text(axis) if axis else None) as drawing:
            panels = [
                ("Parameters", "parameters", [r.sizes["params"] for r in done]),
                ("Work", "multiply-accumulates per example", [r.sizes["macs"] for r in done]),
                ("Time", "seconds of training", [r.seconds or 0 for r in done]),
            ]
            y = [aim.plotted(r.value or 0) for r in done]
            for axes, (title, unit, x) in zip(drawing.axes, panels, strict=True):
                front = sorted(_front(x, y, more=aim.higher))
                axes.plot([x[i] for _, i in front], [y[i] for _, i in front], color=BLACK, lw=0.8, ls=":", zorder=1)
                for name, shade, mine in shades:
                    axes.plot(
                        [x[i] for i in mine],
                        [y[i] for i in mine],
                        color=shade,
                        ls="",
                        marker="o",
                        label=plot_text(name),
                    )
                for _, i in front:
                    text = str(done[i].number)
                    axes.annotate(text, (x[i], y[i]), (6, 6), textcoords="offset points", size=8)
                ring = [i for i, r in enumerate(done) if r.best]
                axes.plot(
                    [x[i] for i in ring], [y[i] for i in ring], ls="", marker="o", ms=11, mfc="none", mec=BLACK, mew=1.1
                )
                axes.set(title=title, xlabel=unit)
                _scaled(axes, x, title != "Time")
            drawing.axes[0].set_ylabel(f"validation: {aim.axis}")
        return drawing.svg

    def _row(self, trial: FrozenTrial, best: bool) -> TrialRow:
        given = trial.params or trial.system_attrs.get("fixed_params", {})
        values = tuple(a.shown(given[a.key]) if a.key in given else "" for a in self.sweep.space)
        names = {"COMPLETE": "done", "PRUNED": "pruned", "RUNNING": "running", "WAITING": "waiting", "FAIL": "failed"}
        state, attributes, note = names[trial.state.name], trial.user_attrs, str(trial.user_attrs.get(ERROR, ""))
        value: float | None = trial.values[0] if state == "done" else None
        if state in ("pruned", "running") and trial.intermediate_values:
            epoch, reached = max(trial.intermediate_values.items())
            note = f"after epoch {epoch}: {self._shown(reached)}"
        sizes = {name: attributes[name] for name in ("params", "macs") if name in attributes}
        seconds: Any = attributes.get("seconds")
        if seconds is None and state == "running":
            metrics = self.ledger.folder.trial(trial.number) / "metrics.jsonl"
            seconds = sum(epoch["seconds"] for epoch in lines_of(metrics))
        return TrialRow(trial.number, state, values, value, sizes, seconds, note, best)

    def _head(self) -> list[str]:
        names = [a.name for a in self.sweep.space]
        return ["trial", *names, self._value_name(), "parameters", "MACs", "time", ""]

    def _cells(self, row: TrialRow) -> list[str]:
        note = f"{row.state}: {row.note}" if row.note else row.state if row.state != "done" else ""
        sizes = [f"{row.sizes[name]:,}" if name in row.sizes else "" for name in ("params", "macs")]
        time = duration(row.seconds) if row.seconds else ""
        return [f"{row.number}{' *' * row.best}", *row.values, self._value(row), *sizes, time, note]

    def _value(self, row: TrialRow) -> str:
        return "" if row.value is None else self._shown(row.value)

    def _shown(self, value: float) -> str:
        return self.sweep.aim.text(value)

    def _value_name(self) -> str:
        return f"validation {self.sweep.aim.label}"

    def _caption(self) -> str:
        best = "the trials that no other beats in both" if self.sweep.minimize else "the best"
        pruned = " Pruned trials are not shown." if any(r.state == "pruned" for r in self.rows) else ""
        return (
            f"The finished trials. Ringed: {best}. Numbered, on the dotted line: those that no smaller or "
            f"faster trial beats.{pruned}"
        )

    def _shades(self, done: Sequence[TrialRow]) -> tuple[str, list[tuple[str, str, list[int]]]]:
        """Colours by the first axis with few values: its name, and the trials by value and colour."""
        for k, axis in enumerate(self.sweep.space):
            values = sorted({r.values[k] for r in done}, key=lambda text: (len(text), text))
            if 2 <= len(values) <= 7:
                mine = [[i for i, r in enumerate(done) if r.values[k] == value] for value in values]
                return axis.name, [(v, colour(j), mine[j]) for j, v in enumerate(values)]
        return "", [("", BLUE, list(range(len(done))))]


_NAMES = {"macs": "MACs", "params": "parameters"}


def _front(x: Sequence[float], y: Sequence[float], *, more: bool) -> list[tuple[float, int]]:
    """The Pareto front as (x, index): points that no point with smaller or equal x matches or beats."""
    front: list[tuple[float, int]] = []
    best = float("-inf")
    for i in sorted(range(len(x)), key=lambda i: (x[i], -y[i] if more else y[i])):
        height = y[i] if more else -y[i]
        if height > best:
            best = height
            front.append((x[i], i))
    return front


def _scaled(axes: Axes, x: Sequence[float], units: bool) -> None:
    """Make the axis logarithmic if values differ by a factor of ten. ``units`` writes 20k for 20,000."""
    from matplotlib.ticker import EngFormatter, LogLocator, StrMethodFormatter

    formatter = EngFormatter(sep="") if units else StrMethodFormatter("{x:g}")
    if min(x) > 0 and max(x) >= 10 * min(x):
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.xaxis.set_minor_formatter(formatter)
    axes.xaxis.set_major_formatter(formatter)
    axes.margins(x=0.08, y=0.1)
