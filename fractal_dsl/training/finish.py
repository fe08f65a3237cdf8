"""The end of a run: the best weights are measured on the test examples, and the report is written."""

from __future__ import annotations

from typing import Any

from fractal_dsl.evaluation.run import RunResult, Status
from fractal_dsl.evaluation.worst import Worst, write_mistakes
from fractal_dsl.runs.report import write_report
from fractal_dsl.runtime.graph_to_fx import routes_apart
from fractal_dsl.tasks.several import heads_of
from fractal_dsl.training.loop import Loop, scores
from fractal_dsl.training.progress import ProgressView
from fractal_dsl.training.run_writer import RunWriter

_STATUS: dict[str, Status] = {
    "epochs": "finished",
    "patience": "finished",
    "interrupted": "interrupted",
    "minutes": "out of time",
}


def finished(
    run: RunWriter, loop: Loop, ended: str, signal: str, plain: dict[str, Any] | None, view: ProgressView
) -> RunResult:
    """Measure the best weights on the test examples, and write the report."""
    stepper, images, p, store = loop.stepper, loop.images, loop.progress, loop.store
    if ended in ("interrupted", "minutes"):
        reason = f"stopped by {signal}" if ended == "interrupted" else "stopped: the time is up"
        where = f" in epoch {p.epoch + 1}" if p.batch else f" after epoch {p.epoch}"
        view.line(f"{reason}{where}, after step {p.step}. To resume: {store.resume_command()}", whole=True)
    if ended == "patience":
        view.line(f"stopped early: no better validation figures for {run.config.patience} epochs")
    loop.load_best()
    paces = [(e["images_per_second"], e["seconds"]) for e in loop.epochs]
    if p.batch:
        paces.append((p.images / p.epoch_seconds, p.epoch_seconds))
    seconds, worst = sum(s for _, s in paces), Worst(heads_of(images.task)[0].task)
    result = RunResult(
        run.folder,
        _STATUS[ended],
        ended=ended,
        epochs=p.epoch,
        best_epoch=store.epoch_of("best"),
        validation_images=len(images.validation),
        measured=stepper.measure(images, images.test, confusion=True, worst=worst),
        averaged=routes_apart(run.compiled.graph),
        plain=plain,
        seconds=p.seconds,
        images_per_second=sum(pace * s for pace, s in paces) / max(1e-9, seconds),
    )
    wrong = worst.collected(run.world)
    with store.kept("The trained state is kept"):
        run.result(result.json())
        run.world.lead(lambda: write_mistakes(run.folder, images, wrong))
        run.world.lead(lambda: write_report(run.folder))
        run.seal(result.status)
    best = f"the weights of epoch {result.best_epoch}" if result.best_epoch else f"the weights after step {p.step}"
    figures = images.figures
    label = "" if figures.score == figures.running else f"{figures.score.label} "
    view.line(f"test {figures.examples}, with {best}: {label}{scores(result.measured, figures)}")
    if plain is not None:
        score = figures.score.text(plain[figures.score.key])
        view.line(f"test {figures.examples}, column {plain['column']} trained alone: {score:>6}")
    view.line(f"report: {run.folder / 'report.html'}", whole=True)
    return result
