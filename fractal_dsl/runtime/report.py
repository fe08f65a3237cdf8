"""A run's pictures and its page: ``curves.svg``, ``columns.svg`` and ``report.html``, which opens offline."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, cast

from fractal_dsl.files import write_text
from fractal_dsl.runtime.plots import BLACK, BLUE, DASHES, ORANGE, Drawing, colour, integer_epochs
from fractal_dsl.runtime.run_folder import versions

Figures = Mapping[str, Any]


def write_report(folder: Path) -> None:
    """Draw the pictures of a run and write its page, from the files in its folder."""
    epochs = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    result = json.loads((folder / "result.json").read_text("utf-8"))
    write_text(folder / "curves.svg", curves_svg(epochs, result))
    write_text(folder / "columns.svg", columns_svg(epochs, result))
    write_text(folder / "report.html", report_html(folder, result))


def curves_svg(epochs: Sequence[Figures], result: Figures) -> str:
    """Loss and accuracy by epoch, in training and on the validation images."""
    with Drawing(2, "curves") as drawing:
        loss, accuracy = drawing.axes
        x = [e["epoch"] for e in epochs]
        validated = bool(epochs) and epochs[0]["validation"] is not None
        loss.plot(x, [e["train_loss"] for e in epochs], color=ORANGE, ls="--", marker="o", ms=3, label="training")
        percent = [100 * e["train_accuracy"] for e in epochs]
        accuracy.plot(x, percent, color=ORANGE, ls="--", marker="o", ms=3, label="training")
        if validated:
            valid = [e["validation"] for e in epochs]
            loss.plot(x, [v["loss"] for v in valid], color=BLUE, marker="o", ms=3, label="validation")
            accuracy.plot(x, [100 * v["accuracy"] for v in valid], color=BLUE, marker="o", ms=3, label="validation")
        loss.set(title="Loss", xlabel="epoch", ylabel="cross-entropy (nats per image)", yscale="log")
        accuracy.set(title="Accuracy", xlabel="epoch", ylabel="images classified right (%)")
        if result["best_epoch"]:
            accuracy.axvline(result["best_epoch"], color="#999999", lw=1, ls=":", label="best weights")
        for axes in drawing.axes:
            integer_epochs(axes)
            if epochs:
                axes.legend()
    return drawing.svg


def columns_svg(epochs: Sequence[Figures], result: Figures) -> str:
    """Each column alone: accuracy by epoch on the validation images, and in the end on the test images."""
    with Drawing(2, "columns") as drawing:
        over_time, final = drawing.axes
        names = [f"column {c['column']}" for c in result["columns"]]
        valid = [(e["epoch"], e["validation"]) for e in epochs if e["validation"]]
        for i, name in enumerate(names):
            y = [100 * v["columns"][i]["accuracy"] for _, v in valid]
            over_time.plot([x for x, _ in valid], y, color=colour(i), ls=DASHES[i % 4], lw=1.6, label=name)
        y = [100 * v["accuracy"] for _, v in valid]
        over_time.plot([x for x, _ in valid], y, color=BLACK, lw=2.2, label="whole net")
        over_time.set(title="Validation images, by epoch", xlabel="epoch", ylabel="images classified right (%)")
        integer_epochs(over_time)
        if valid:
            over_time.legend()
        shares = [100 * c["accuracy"] for c in result["columns"]] + [100 * result["accuracy"]]
        bars = final.barh([*names, "whole net"], shares, color=[*map(colour, range(len(names))), BLACK], height=0.62)
        final.bar_label(bars, [f"{s:.1f} %" for s in shares], padding=4)
        final.set(title="Test images, best weights", xlabel="images classified right (%)", xlim=(0, 115))
        final.set_xticks(range(0, 101, 20))
        final.invert_yaxis()
        final.grid(axis="y", visible=False)
    return drawing.svg


# --- the page

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 64rem;
  margin: 2rem auto; padding: 0 1rem }}
h1 {{ font-size: 1.7rem; margin-bottom: 0 }} h2 {{ font-size: 1.2rem; margin-top: 2.2rem }}
table {{ border-collapse: collapse }}
th, td {{ padding: .25rem 1rem .25rem 0; text-align: left; border-bottom: 1px solid #ddd;
  font-variant-numeric: tabular-nums }}
td.n, th.n {{ text-align: right }}
figure {{ margin: 1rem 0; overflow-x: auto }} figure svg {{ max-width: 100%; height: auto }}
figcaption, .note {{ color: #555 }}
pre {{ background: #f6f6f6; padding: 1rem; overflow-x: auto; font-size: .85rem }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def report_html(folder: Path, result: Figures) -> str:
    """The page of a run; pictures and styles stand in it, so that it needs no other file."""
    given = json.loads((folder / "params.json").read_text("utf-8"))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    title = f"{given['net']} on {config['dataset']['name']}"
    rows = [[f"column {c['column']} alone", *_figures(c)] for c in result["columns"]]
    status = "" if result["status"] == "finished" else f" The run was {result['status']}."
    best = f"epoch {result['best_epoch']}" if result["best_epoch"] else "before training"
    facts = [
        ["epochs", str(result["epochs"])],
        ["best weights", f"of {best}" if result["best_epoch"] else best],
        ["training time", f"{result['seconds']:.1f} s"],
        ["training speed", f"{result['images_per_second']:,.0f} images/s"],
        *([name, version] for name, version in versions().items()),
    ]
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="note">{escape(folder.resolve().name)}.{escape(status)}</p>',
        "<h2>Accuracy on the test images</h2>",
        _table([["whole net", *_figures(result)], *rows], ["", "accuracy", "loss (nats per image)"]),
        f'<p class="note">With the best weights ({best}). The test images had no part in choosing them.</p>',
        _picture(folder, "graph.svg", "The network."),
        "<h2>Training</h2>",
        _picture(
            folder,
            "curves.svg",
            "In training: what drop-path leaves of the net at each step, averaged over the epoch. "
            "On the validation images: the whole net at the epoch's end.",
        ),
        "<h2>Columns</h2>",
        _picture(folder, "columns.svg", "Each column run alone; column 1 is the shallowest."),
        "<h2>Run</h2>",
        _table(facts),
        "<h2>Settings</h2>",
        _table(_flat({"parameters": given["params"], **config})),
        "<h2>Spec</h2>",
        f"<pre>{escape((folder / 'spec.frac').read_text('utf-8'))}</pre>",
    ]
    return _PAGE.format(title=escape(title), body="\n".join(part for part in parts if part))


def _figures(measured: Figures) -> list[str]:
    return [f"{measured['accuracy']:.2%}", f"{measured['loss']:.4f}"]


def _table(rows: Sequence[Sequence[str]], head: Sequence[str] = ()) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        inner = (f"<{tag}{' class=n' if i else ''}>{escape(c)}</{tag}>" for i, c in enumerate(cells))
        return f"<tr>{''.join(inner)}</tr>"

    body = "\n".join(row(cells, "td") for cells in rows)
    return f"<table>\n{row(head, 'th') if head else ''}{body}\n</table>"


def _flat(data: Mapping[str, Any], prefix: str = "") -> list[list[str]]:
    """Nested settings as rows of a dotted key and a value."""
    rows: list[list[str]] = []
    for key, value in data.items():
        if isinstance(value, Mapping):
            rows += _flat(cast(Mapping[str, Any], value), f"{prefix}{key}.")
        elif value is not None:
            rows.append([prefix + key, value if isinstance(value, str) else json.dumps(value)])
    return rows


def _picture(folder: Path, name: str, caption: str) -> str:
    """An SVG file of the folder, inline; nothing if it is not there."""
    try:
        text = (folder / name).read_text("utf-8")
    except OSError:
        return ""
    found = re.search(r"<svg\b.*</svg>", text, re.DOTALL)
    if not found:
        return ""
    svg = found[0].replace("<svg", f'<svg role="img" aria-label="{escape(caption)}"', 1)
    return f"<figure>\n{svg}\n<figcaption>{escape(caption)}</figcaption>\n</figure>"
