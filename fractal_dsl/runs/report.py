"""The page of one run, ``report.html``, and the page that compares several runs. Both work offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import markup
from fractal_dsl.base.parts import read_part, write_part
from fractal_dsl.base.texts import duration, memory_text, shortened
from fractal_dsl.picture.graph_to_dot import follow_reader
from fractal_dsl.runs.confusion import confusion_html
from fractal_dsl.runs.figures import columns_svg, curves_svg, gradients_svg, losses_svg, overlay_svg, paths_svg
from fractal_dsl.runs.files import Measurements, RunFiles
from fractal_dsl.runs.mistakes import mistakes_html
from fractal_dsl.runs.page import TextRows, figure, page, table
from fractal_dsl.runs.svg import clean_svg
from fractal_dsl.runs.tasks import Metric

_STYLE = """\
td:first-child { min-width: 8rem }
figure.net { border: 1px solid var(--line); padding: .5rem } figure.net svg { max-height: 48rem }
pre { background: var(--panel); padding: 1rem; overflow-x: auto; font-size: .85rem; overflow-wrap: normal }
.runs { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(34rem, 1fr); gap: 2rem; overflow-x: auto }
.mistakes { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem }
.mistakes.wide { grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)) }
.mistakes figure { margin: 0; overflow: visible; font-size: .85rem; line-height: 1.35 }
.mistakes .pictures { display: flex; gap: .25rem }
.mistakes img { flex: 1; min-width: 0; aspect-ratio: 1; object-fit: contain; image-rendering: pixelated;
  background: var(--panel) }
.confusion td, .confusion th { padding: .2rem .4rem; text-align: right; border: 1px solid var(--line);
  overflow-wrap: normal; min-width: 0 }
.confusion thead th { vertical-align: bottom } .confusion .down span { writing-mode: vertical-rl }
.confusion td:hover { outline: 2px solid var(--ink) }
.confusion.dense td { padding: 0; min-width: .6rem; height: .6rem; border: 0 }
"""


def write_report(folder: Path) -> Path:
    """Draw the pictures of a run and write its page, from the files in its folder."""
    run = RunFiles.read(folder)
    drawn = pictures(run)
    for name, svg in drawn.items():
        write_part(folder, f"{name}.svg", svg)
    write_part(folder, "report.html", report_html(run, drawn))
    return folder / "report.html"


def pictures(run: RunFiles, salt: str = "") -> dict[str, str]:
    """The pictures of a run by name; ``salt`` keeps their ids apart on one page."""
    drawn: dict[str, str] = {}
    if run.epochs:
        drawn["curves"] = curves_svg(run, f"curves{salt}")
        if run.result is not None:
            drawn["columns"] = columns_svg(run, f"columns{salt}")
        if run.epochs[0]["validation"] or "training" in run.epochs[0]:
            drawn["losses"] = losses_svg(run, f"losses{salt}")
        if "training" in run.epochs[0]:
            drawn["gradients"] = gradients_svg(run, f"gradients{salt}")
    if run.paths:
        drawn["paths"] = paths_svg(run, f"paths{salt}")
    return drawn


_CAPTIONS = {
    "curves": "Training: the part of the net that drop-path keeps at each step, averaged over the epoch. "
    "Validation: the whole net at the end of the epoch.",
    "columns": "Each column alone. Column 1 is the shallowest.",
    "losses": "The loss of each column alone during training. Training images: one fixed batch, not augmented.",
    "gradients": "How much of the gradient reaches each depth: the L2 norm of a layer's gradient on one fixed batch, "
    "at the end of an epoch.",
    "paths": "The number of layers on each path from the input to the output. Under drop-path: the paths that are live "
    "in a training step, averaged over all possible plans.",
}


def report_html(run: RunFiles, svgs: Mapping[str, str]) -> str:
    """The page of a run, given its pictures by name. It needs no other file."""
    drawn = {name: figure(svg, _CAPTIONS[name]) for name, svg in svgs.items()}
    parts = [
        f"<h1>{markup(run.title)}</h1>",
        f'<p class="note">{markup(run.name)}.{markup(_status(run))}</p>',
        *_scores(run),
        *_mistakes(run),
        *_confusion(run),
        "<h2>Training</h2>" if "curves" in drawn else "",
        drawn.get("curves", ""),
        _net(run.folder),
        "<h2>Columns</h2>" if {"columns", "losses"} & drawn.keys() else "",
        drawn.get("columns", ""),
        drawn.get("losses", ""),
        "<h2>Depth</h2>" if {"gradients", "paths"} & drawn.keys() else "",
        drawn.get("gradients", ""),
        drawn.get("paths", ""),
        "<h2>Run</h2>",
        table({name: [value] for name, value in facts(run).items()}),
        *_sessions(run),
        "<h2>Settings</h2>",
        table({name: [value] for name, value in run.settings().items()}),
        "<h2>Spec</h2>",
        f"<pre>{markup(_text(run.folder, run.given.spec))}</pre>",
    ]
    return page(run.title, parts, "64rem", _STYLE + follow_reader())


def comparison_html(runs: Sequence[RunFiles], figures: TextRows, settings: TextRows, more: Sequence[str] = ()) -> str:
    """One page for several runs: their differences, their curves in one picture, and the runs side by side.

    ``more`` is HTML before the latter."""
    names = [run.name for run in runs]
    title = f"{len(runs)} runs"
    sides: list[str] = []
    for i, run in enumerate(runs):
        drawn = pictures(run, f"-{i}")
        shown = "\n".join(figure(svg, _CAPTIONS[name]) for name, svg in drawn.items())
        head = f'<h3>{markup(run.name)}</h3>\n<p class="note">{markup(run.title)}.{markup(_status(run))}</p>'
        sides.append(f"<section>{head}\n{_net(run.folder)}\n{shown}</section>")
    caption = "Training: the part of the net that drop-path keeps, averaged over the epoch. Validation: the whole net."
    parts = [
        f"<h1>{title}</h1>",
        f'<p class="note">{markup(", ".join(names))}</p>',
        "<h2>Measurements</h2>",
        table(figures, names),
        "<h2>Training</h2>",
        figure(overlay_svg(runs), caption),
        "<h2>Settings that differ</h2>",
        table(settings, names) if settings else "<p>None.</p>",
        *more,
        "<h2>Side by side</h2>",
        f'<div class="runs">{"".join(sides)}</div>',
    ]
    return page(title, parts, "96rem", _STYLE + follow_reader())


def facts(run: RunFiles) -> dict[str, str]:
    """How a run went, apart from its figures."""
    result, rows = run.result, {"epochs": f"{len(run.epochs)}", "weights": run.chosen()}
    if run.sessions is not None:
        rows["parameters"] = f"{run.sessions['parameters']:,}"
        rows["multiply-accumulates"] = f"{run.sessions['macs']:,} for one {run.figures.examples.removesuffix('s')}"
    if result is not None:
        rows["training time"] = duration(result["seconds"])
        rows["training speed"] = f"{result['images_per_second']:,.0f} {run.figures.examples}/s"
    if waited := [(e["waiting"], e["seconds"]) for e in run.epochs if "waiting" in e and "seconds" in e]:
        share = sum(share * s for share, s in waited) / max(1e-9, sum(s for _, s in waited))
        rows["waiting for data"] = f"{share:.1%} of the time of the epochs"
    if run.data is not None:
        data = run.data
        outputs = {f"output {name}, ": data.of_output(name) for name in data.by_output} or {"": data}
        for prefix, record in outputs.items():
            if record.targets is not None or prefix:
                rows[f"{prefix}task"] = f"{record.task}, loss {record.loss.replace('_', '-')}"
            if record.targets is not None:
                rows[f"{prefix}targets"] = record.targets.text()
            if record.classes:
                kind = "labels" if record.task == "multilabel" else "classes"
                rows[prefix + kind] = shortened(record.classes, 20)
        inputs = {f"inputs {name}": one.inputs.text() for name, one in data.by_input.items()}
        rows |= inputs or {"inputs": data.inputs.text()}
        rows |= {f"{use} examples": f"{count:,}" for use, count in run.data.examples.items()}
    if run.epochs:
        rows["memory"] = f"{memory_text(run.epochs[-1]['memory'])} at most"
    return rows | {name: str(version) for name, version in run.versions.items()}


def _status(run: RunFiles) -> str:
    if run.status == "finished":
        early = run.result is not None and run.result["ended"] == "patience"
        return " It stopped early: the validation figures no longer improved." if early else ""
    return f" The run was {run.status}." if run.status != "running" else " The run is not finished."


def _scores(run: RunFiles) -> list[str]:
    result = run.result
    if result is None:
        return []
    metrics = run.figures.of(result)
    rows = {"whole net": _texts(result, metrics)}
    rows |= {f"column {c['column']} alone": _texts(c, metrics) for c in result["columns"]}
    if result["plain"]:
        rows[f"column {result['plain']['column']}'s layers, trained alone"] = _texts(result["plain"], metrics)
    return [
        f"<h2>{run.figures.score.title} on the test {run.figures.examples}</h2>",
        table(rows, [*(m.label for m in metrics), f"loss: {run.loss_axis}"]),
        *_other_outputs(run, result),
        f'<p class="note">With the {markup(run.chosen())}.</p>',
    ]


def _other_outputs(run: RunFiles, result: Measurements) -> list[str]:
    """The figures of further outputs, each with the metrics of its task."""
    parts: list[str] = []
    for name, figures in run.figures.others.items():
        metrics, columns = figures.of(result["outputs"][name]), result["columns"]
        rows = {"whole net": _texts(result["outputs"][name], metrics)}
        rows |= {f"column {c['column']} alone": _texts(c["outputs"][name], metrics) for c in columns}
        parts += [f"<h3>Output {markup(name)}</h3>", table(rows, [*(m.label for m in metrics), "loss"])]
    return parts


def _mistakes(run: RunFiles) -> list[str]:
    if not run.mistakes:
        return []
    note = f"The test {run.figures.examples} with the highest loss{' among those answered wrongly' * run.has_classes}."
    return ["<h2>The worst mistakes</h2>", mistakes_html(run.mistakes), f'<p class="note">{markup(note)}</p>']


def _confusion(run: RunFiles) -> list[str]:
    counts = run.result.get("confusion") if run.result else None
    if not counts or run.data is None:
        return []
    names = [run.data.name_of(i) for i in range(len(counts))]
    examples = "pixels" if run.data.task == "segmentation" else run.figures.examples
    return ["<h2>Confusion matrix</h2>", confusion_html(counts, names, examples)]


def _sessions(run: RunFiles) -> list[str]:
    """When, where and by which commands the run was trained."""
    if run.sessions is None:
        return []
    rows = {
        f"{number}": [one["began"], one["command"] or "from Python", one["device"]]
        for number, one in enumerate(run.sessions["sessions"], 1)
    }
    return ["<h3>Sessions</h3>", table({"": ["began", "command", "device"], **rows})]


def _texts(measured: Measurements, metrics: Sequence[Metric]) -> list[str]:
    return [*(m.text(measured[m.key]) if m.key in measured else "" for m in metrics), f"{measured['loss']:.4f}"]


def _net(folder: Path) -> str:
    """The network's picture, if there is one. It gets its own box, because it may be tall."""
    return figure(clean_svg(_text(folder, "graph.svg")), "The network.", "net")


def _text(folder: Path, name: str) -> str:
    """The text of a part of a run's folder, empty if it is missing."""
    try:
        return read_part(folder, name)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / name} cannot be read: {error}") from None
