"""Every task: its settings and targets, and runs that train, resume and are evaluated."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.cli.app import app
from fractal_dsl.compiled import MAX_LAYERS
from fractal_dsl.config import merge, parse_config
from fractal_dsl.config.losses import LOSSES, TaskName
from fractal_dsl.data import ImageSet, load
from fractal_dsl.deploy.extract import extract
from fractal_dsl.evaluation.evaluate import evaluate
from fractal_dsl.evaluation.run import Run, RunResult
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runs.comparison import compare_runs
from fractal_dsl.runs.files import RunFiles
from fractal_dsl.runs.tasks import TASKS
from fractal_dsl.runtime.artifact import load_artifact
from fractal_dsl.sweep.checks import CheckedSweep
from fractal_dsl.sweep.run import sweep
from fractal_dsl.training.train import resume, train
from tests.support.runs import ends_of, killed_at
from tests.support.tasks import ARRAYS, NETS, spec_of

CPU = torch.device("cpu")
every_task = pytest.mark.parametrize("task", NETS)


def started(text: str, folder: Path, *overrides: tuple[str, Any]) -> RunResult:
    spec = compile_text(text)
    config = parse_config(merge(spec.program.train, overrides))
    return train(spec, config, folder, console=Console(file=StringIO()))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[TaskName, Path]:
    """A run of each task, of four epochs, with everything tracked."""
    folder = tmp_path_factory.mktemp("tasks")
    for task in NETS:
        started(spec_of(task, folder, epochs=4), folder / task, ("track_columns", True), ("plain", 1))
    return {task: folder / task for task in NETS}


# --- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "regression", "loss": "cross_entropy"}, "`loss` of regression is `squared` or `absolute` or `huber`"),
        ({"task": "regresion"}, "did you mean `regression`"),
        ({"loss": "mse"}, "unknown loss `mse`"),
        ({"loss": {"name": "huber", "delta": 0.0}}, "`loss.delta` must be above 0"),
        ({"loss": {"name": "cross_entropy", "class_weights": [1.0, -1.0]}}, "must be 0 or more, found -1"),
        ({"loss": {"name": "cross_entropy", "class_weights": [0.0, 0.0]}}, "must not be 0 for all"),
        ({"loss": {"name": "cross_entropy", "class_weights": [1.0], "balanced": True}}, "computes the weights"),
    ],
)
def test_wrong_tasks_and_losses_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_config(settings)
    assert message in str(error.value)


def test_the_table_of_tasks_is_that_of_the_code() -> None:
    rows = (Path(__file__).parents[1] / "docs" / "tasks.md").read_text("utf-8").splitlines()
    for task, figures in TASKS.items():
        row = next(line for line in rows if line.startswith(f"| `{task}` |")).split(" | ")
        assert re.findall(r"`(\w+)`", row[3]) == [*LOSSES[task]]
        assert re.findall(r"`(\w+)`", row[4]) == [metric.key for metric in figures.metrics]
        assert re.findall(r"`(\w+)`", row[5]) == [figures.running.key]


# --- runs


@every_task
def test_a_net_of_each_task_learns(task: TaskName, runs: dict[TaskName, Path]) -> None:
    run = RunFiles.read(runs[task])
    score, first, last = TASKS[task].score, run.epochs[0], run.epochs[-1]
    assert run.data is not None and run.data.task == task and run.result is not None
    assert last["train_loss"] < first["train_loss"]
    assert score.merit(last["validation"][score.key]) > score.merit(first["validation"][score.key])
    assert [c["column"] for c in run.result["columns"]] == [1, 2]
    assert all({"loss", score.key} <= part.keys() for part in (*run.result["columns"], run.result["plain"]))
    assert f"train_{TASKS[task].running.key}" in last
    tracked = last["training"]
    assert tracked["loss"] < first["training"]["loss"] and len(tracked["columns"]) == 2 and tracked["gradients"]


@every_task
def test_evaluation_agrees_with_the_run(task: TaskName, runs: dict[TaskName, Path]) -> None:
    result = json.loads((runs[task] / "result.json").read_text())
    found = evaluate(Run.open(runs[task]), columns=True, anytime=True)
    keys = {m.key for m in TASKS[task].metrics} & result.keys()
    assert TASKS[task].score.key in keys and all(found[key] == result[key] for key in (*keys, "loss"))
    assert found["columns"] == result["columns"]
    networks = found["anytime"]["networks"]
    for row, expected in zip(networks, [*found["columns"], found], strict=True):
        assert all(row[key] == pytest.approx(expected[key]) for key in keys)
    policies = found["anytime"]["policies"]
    assert bool(policies) == (task != "regression")
    for row in policies:
        assert sum(row["answered"]) == pytest.approx(1) and keys <= row.keys()


@every_task
def test_commands_speak_of_the_metrics(task: TaskName, runs: dict[TaskName, Path]) -> None:
    run = str(runs[task])
    done = CliRunner().invoke(app, ["eval", run, "--json"])
    assert done.exit_code == 0, done.output
    measured = json.loads(done.output)
    expected = {
        "classification": {"accuracy", "macro_f1", "confusion"},
        "multilabel": {"mean_average_precision", "f1"},
        "regression": {"mae", "rmse", "r2"},
        "segmentation": {"mean_iou", "pixel_accuracy", "confusion"},
        "tokens": {"perplexity", "bits_per_token", "accuracy"},
    }[task]
    assert measured.keys() == {"loss", "columns", "weights_sha256", *expected}
    lines = CliRunner().invoke(app, ["eval", run, "--columns", "--anytime"]).output.splitlines()
    assert all(f"{m.label} " in lines[0] for m in TASKS[task].of(measured))
    assert lines[0].startswith("whole net") and lines[1].startswith("column 1")
    figures = compare_runs([RunFiles.read(runs[task])] * 2)["figures"]
    assert f"test {TASKS[task].score.label}" in figures and f"last validation {TASKS[task].score.label}" in figures
    page = (runs[task] / "report.html").read_text()
    assert all(f"<th class=n>{m.label}</th>" in page for m in TASKS[task].of(measured))


@every_task
def test_a_killed_run_ends_with_the_same_bits(task: TaskName, tmp_path: Path) -> None:
    text = spec_of(task, tmp_path, epochs=2)
    overrides = ("save_steps", 3), ("track_columns", True)
    started(text, tmp_path / "whole", *overrides)
    with killed_at(5):
        started(text, tmp_path / "killed", *overrides)
    resume(tmp_path / "killed", console=Console(file=StringIO()))
    assert ends_of(tmp_path / "killed") == ends_of(tmp_path / "whole")


@pytest.mark.parametrize("task", ["regression", "tokens"])
def test_lower_scores_can_be_better(task: TaskName, tmp_path: Path) -> None:
    """The best weights and patience follow the direction of the score."""
    key = TASKS[task].score.key
    result = started(spec_of(task, tmp_path, epochs=12), tmp_path / "run", ("patience", 2), ("optimizer.lr", 0.3))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    values = [line["validation"][key] for line in lines]
    assert result.best_epoch == 1 + values.index(min(values))
    assert result.ended == ("patience" if len(values) < 12 else "epochs")


@pytest.mark.parametrize("column", [None, pytest.param(1, marks=pytest.mark.slow)])
def test_a_net_of_regression_is_deployed_in_the_unit_of_its_targets(
    column: int | None, runs: dict[TaskName, Path], tmp_path: Path
) -> None:
    run = Run.open(runs["regression"])
    extract(runs["regression"], column, tmp_path / "net")
    x, y = ARRAYS["regression"](np.random.default_rng(5), 50)
    deployed = load_artifact(tmp_path / "net")
    answers = deployed(torch.from_numpy(x)).detach()
    inputs, targets = run.data(), run.data().targets
    assert targets is not None
    model = run.load()
    plan = model.full_plan() if column is None else model.column_plan(column)
    standard = model.run((torch.from_numpy(x) - torch.tensor(inputs.mean)) / torch.tensor(inputs.std), plan)
    assert torch.equal(answers, standard * torch.tensor(targets.std) + torch.tensor(targets.mean))
    if column is None:
        assert (answers.numpy() - y).std() < y.std() / 2
    code = "import torch, safetensors.torch as st, model as m; net = m.R(); net.eval()\n"
    code += "net.load_state_dict(st.load_file('weights.safetensors')); print(net(torch.zeros(1, 6)).tolist())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "net", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == deployed(torch.zeros(1, 6)).tolist()


@every_task
def test_a_sweep_finds_the_task_and_its_score(task: TaskName, tmp_path: Path) -> None:
    (tmp_path / "net.frac").write_text(spec_of(task, tmp_path))
    checked = CheckedSweep(str(tmp_path / "net.frac"), {}, {"optimizer.lr": "0.01|0.02"}, None, MAX_LAYERS, False)
    assert checked.task() == task


@pytest.mark.slow
def test_a_sweep_minimises_the_score_of_regression(tmp_path: Path) -> None:
    (tmp_path / "net.frac").write_text(spec_of("regression", tmp_path, epochs=1, count=60))
    shown = Console(file=StringIO(), width=200)
    settings, out = {"optimizer.lr": "1e-6|0.05"}, tmp_path / "s"
    assert sweep(str(tmp_path / "net.frac"), {}, settings, out, max_layers=MAX_LAYERS, console=shown)
    lines = shown.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert any("validation RMSE" in line for line in lines)
    assert any("the best is trial 1" in line for line in lines)
    with pytest.raises(UserError, match="regression has no figure `accuracy`: there are `loss`, `rmse`"):
        sweep(str(tmp_path / "net.frac"), {}, settings, tmp_path / "t", objective="accuracy", max_layers=MAX_LAYERS)


# --- which task it is


def loaded(path: Path, into: str, out: str, x: Any, y: Any, dtype: str = "f32", **settings: Any) -> ImageSet:
    np.savez(path / "a.npz", x=x, y=y)
    config = parse_config({"dataset": f"npz:{path / 'a.npz'}", **settings})
    shapes = [tuple(map(int, shape.split(","))) for shape in (into, out)]
    return load(config, "Net", {"x": ops.Tensor(dtype, shapes[0])}, {"output": ops.Tensor("f32", shapes[1])}, CPU)  # type: ignore[arg-type]


RNG = np.random.default_rng(1)
ROWS = RNG.normal(size=(60, 3)).astype("f4")
IMAGES = RNG.integers(256, size=(60, 1, 4, 4)).astype("u1")
COUNT = np.arange(60)


@pytest.mark.parametrize(
    ("out", "x", "y", "settings", "task"),
    [
        ("2", ROWS, COUNT % 2, {}, "classification"),
        ("2", ROWS, COUNT[:, None] % 2, {}, "classification"),
        ("2", ROWS, np.eye(2)[COUNT % 2], {"task": "classification"}, "classification"),
        ("2", ROWS, np.stack([COUNT % 2, COUNT % 3 == 0], 1), {}, "multilabel"),
        ("2", ROWS, np.eye(2, dtype=bool)[COUNT % 2], {}, "multilabel"),
        ("2", ROWS, np.eye(2)[COUNT % 2], {"task": "multilabel"}, "multilabel"),
        ("1", ROWS, COUNT % 2, {"task": "multilabel"}, "multilabel"),
        ("1", ROWS, COUNT % 2 == 0, {}, "multilabel"),
        ("1", ROWS, COUNT, {}, "regression"),
        ("1", ROWS, ROWS[:, 0], {}, "regression"),
        ("1", ROWS, ROWS[:, :1], {}, "regression"),
        ("2", ROWS, ROWS[:, :2], {}, "regression"),
        ("2", ROWS, np.eye(2)[COUNT % 2], {"task": "regression"}, "regression"),
        ("1,4,4", IMAGES, RNG.normal(size=(60, 4, 4)), {}, "regression"),
        ("2,4,4", IMAGES, RNG.integers(2, size=(60, 4, 4)), {}, "segmentation"),
        ("2,4,4", IMAGES, RNG.integers(2, size=(60, 1, 4, 4)), {}, "segmentation"),
        ("2,4,4", IMAGES, RNG.integers(2, size=(60, 4, 4)) > 0, {}, "segmentation"),
        ("3,5", ROWS, RNG.integers(5, size=(60, 3)), {}, "tokens"),
    ],
)
def test_the_task_follows_from_output_and_targets(
    out: str, x: Any, y: Any, settings: dict[str, Any], task: str, tmp_path: Path
) -> None:
    data = loaded(tmp_path, ",".join(map(str, x.shape[1:])), out, x, y, **settings)
    assert data.task.name == task == data.record.task
    output = torch.zeros(len(data.train), *map(int, out.split(",")))
    assert data.task.loss(output, data.batch(data.train, slice(None))[1]).isfinite()
    assert data.describe()


@pytest.mark.parametrize(
    ("out", "x", "y", "settings", "message"),
    [
        ("1", ROWS, COUNT % 2, {}, 'set task = "multilabel" for the probability of a 1'),
        ("2", ROWS, np.eye(2)[COUNT % 2], {}, "all targets are 0 and 1, which can mean more than one task"),
        ("2", ROWS, np.eye(2, dtype=int)[COUNT % 2], {}, 'task = "classification" for a single 1'),
        ("3", ROWS, ROWS[:, 0], {}, "other numbers need a net that gives f32[1]"),
        ("3", ROWS, ROWS[:, :2], {}, "numbers of this shape need a net that gives f32[2]"),
        ("3", ROWS, RNG.integers(9, size=(60, 2)), {}, "a class for each position needs f32[2, classes]"),
        ("2", ROWS, RNG.integers(2, size=(60, 4, 4)), {}, "masks need a net that gives f32[classes, 4, 4]"),
        ("2", ROWS, np.where(COUNT == 7, 2, COUNT % 2), {"task": "classification"}, "of 3 classes"),
        ("2", ROWS, np.where(COUNT == 7, -1, COUNT % 2), {}, "y[7] is -1, but the net has classes 0 to 1"),
        (
            "2",
            ROWS,
            2 * (COUNT[:, None] % 3) + [0, 1],
            {"task": "multilabel"},
            "y[1] is 2 at [0], but a label is 0 or 1",
        ),
        ("1", ROWS, np.where(COUNT == 9, np.nan, ROWS[:, 0]), {}, "y[9] is nan, but a target must be a finite number"),
        (
            "1",
            ROWS,
            np.where(COUNT == 9, 1e39, ROWS[:, 0].astype(float)),
            {},
            "y[9] is 1e+39, but a target must be a finite number",
        ),
        ("2", ROWS, ROWS[:, :2], {"task": "multilabel"}, "but a label is 0 or 1"),
        ("2", ROWS, COUNT % 2, {"task": "regression"}, "the net gives f32[2], but the targets are int64 []"),
        ("2", ROWS, COUNT % 2, {"task": "tokens"}, "a token model gives f32[length, vocabulary]"),
        ("2", ROWS, COUNT % 2, {"loss": "squared"}, "whose loss is `cross_entropy`, not `squared`"),
        ("1", ROWS, ROWS[:, 0], {"label_smoothing": 0.1}, "`label_smoothing` is for classes"),
        ("3", ROWS, 2 * (COUNT % 2), {}, "no training example is of class `1`"),
        ("2", ROWS, np.stack([COUNT % 2, 0 * COUNT], 1), {}, "label `1` is 0 in every training example"),
        (
            "2,4,4",
            IMAGES,
            RNG.integers(2, size=(60, 5, 4)),
            {},
            "y[0] is a mask of 5 x 4 pixels, but the net gives 4 x 4",
        ),
        (
            "2,4,4",
            IMAGES,
            255 * RNG.integers(2, size=(60, 4, 4)),
            {},
            "no training pixel is of class `1` (their values",
        ),
        ("2,4,4", IMAGES, RNG.integers(3, size=(60, 4, 4)), {}, "but the net has classes 0 to 1, and 255 is ignored"),
        (
            "2,4,4",
            IMAGES,
            RNG.normal(size=(60, 4, 4)),
            {},
            "net Net gives f32[2, 4, 4], but targets are float64 [4, 4]",
        ),
        ("3,5", ROWS, RNG.integers(5, size=(60, 4)), {}, "each target must have 3 whole numbers"),
        ("3,5", ROWS, RNG.integers(6, size=(60, 3)), {}, "but the net has classes 0 to 4, and -100 is ignored"),
        ("2", ROWS, np.array(["a", "b"])[COUNT % 2], {}, "targets must be numbers"),
        (
            "2",
            ROWS,
            COUNT % 2,
            {"loss": {"name": "cross_entropy", "class_weights": [1.0] * 3}},
            "3 numbers for 2 classes",
        ),
        ("1,4,4", IMAGES, RNG.normal(size=(60, 4, 4)), {"augment": "translate"}, "moves images, but not their targets"),
    ],
)
def test_targets_that_do_not_fit_are_refused(
    out: str, x: Any, y: Any, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        loaded(tmp_path, ",".join(map(str, x.shape[1:])), out, x, y, **settings)
    assert message in str(error.value)


def test_a_class_of_the_test_part_alone_is_named_with_its_row(tmp_path: Path) -> None:
    y = COUNT % 2
    np.savez(tmp_path / "a.npz", x_train=ROWS, y_train=y, x_test=ROWS, y_test=np.where(COUNT == 5, 2, y))
    config = parse_config({"dataset": f"npz:{tmp_path / 'a.npz'}"})
    with pytest.raises(UserError, match=r"no training example is of class `2`, but .*y_test\[5\] is"):
        load(config, "Net", {"x": ops.Tensor("f32", (3,))}, {"output": ops.Tensor("f32", (3,))}, CPU)


def test_nothing_is_left_behind_by_refused_targets(tmp_path: Path) -> None:
    text = spec_of("regression", tmp_path)
    x, y = ARRAYS["regression"](np.random.default_rng(0), 50)
    y[3] = np.inf
    np.savez(tmp_path / "regression.npz", x=x, y=y)
    with pytest.raises(UserError, match=r"y\[3\] is inf at \[0\]"):
        started(text, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- masks move with images


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
def test_masks_move_with_their_images(padding: str, tmp_path: Path) -> None:
    x = RNG.integers(200, size=(60, 1, 4, 4)).astype("u1")
    y = (x[:, 0] > 100).astype("u1")
    how = {"name": "translate", "pixels": 2, "padding": padding}
    data = loaded(tmp_path, "1,4,4", "2,4,4", x, y, augment=how, validation=0)
    assert isinstance(data, ImageSet)
    plain, masks = data.batch(data.train, slice(None))
    moved, found = data.batch(data.train, slice(None), epoch=3)
    assert not torch.equal(plain, moved)
    limit = (100.5 - data.mean) / data.std
    inside = found != 255
    assert inside.all() == (padding == "reflect") and inside.float().mean() > 0.4
    assert torch.equal((moved[:, 0] > limit[0])[inside], found[inside] == 1)
    streamed = [y for _, y in data.batches(data.train, [torch.arange(7), torch.arange(7, 20)], 3)]
    assert torch.equal(torch.cat(streamed), found[:20])
    assert masks.max() == 1


@pytest.mark.parametrize(
    ("task", "settings", "message"),
    [
        ("segmentation", {"mixup": 0.2}, "mixup gives an example two targets, but segmentation has a class for each"),
        ("segmentation", {"cutmix": 1.0}, "cutmix gives an example two targets"),
        ("tokens", {"mixup": 0.2}, "tokens cannot be mixed"),
    ],
)
def test_targets_that_cannot_be_mixed_are_refused(
    task: TaskName, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        started(spec_of(task, tmp_path), tmp_path / "run", *settings.items())
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_labels_and_numbers_are_mixed(task: TaskName, tmp_path: Path) -> None:
    result = started(spec_of(task, tmp_path, epochs=1), tmp_path / "run", ("mixup", 0.3))
    assert result.status == "finished"
