"""A run for a notebook: its curves as SVG, and its result as a text."""

from __future__ import annotations

from pathlib import Path

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.texts import counted
from fractal_dsl.runs.figures import curves_svg
from fractal_dsl.runs.files import RunFiles
from fractal_dsl.runs.plots import require_matplotlib


def run_bundle(folder: Path) -> dict[str, str]:
    """What ``_repr_mimebundle_`` returns for a run, finished or not: texts by their MIME type."""
    run = RunFiles.read(folder)
    text = f"run {folder}: {run.status}, {counted(len(run.epochs), 'epoch')}"
    if run.result is not None:
        score = run.figures.score
        text += f", {score.title.lower()} {score.text(run.result[score.key])} on the test examples"
    if not run.epochs:
        return {"text/plain": text}
    try:
        require_matplotlib()
    except UserError as error:
        return {"text/plain": f"{text}\n(no curves: {error})"}
    return {"text/plain": text, "image/svg+xml": curves_svg(run, f"curves-{folder}")}
