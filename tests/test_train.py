"""The training loop, the run folder, evaluation and the report, on nets that train in a second."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import xml.etree.ElementTree as ET
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.manifest import write_manifest
from fractal_dsl.compiled import Compiled
from fractal_dsl.config import merge, parse_config
from fractal_dsl.data import load
from fractal_dsl.evaluation.evaluate import evaluate, weights_sha256
from fractal_dsl.evaluation.measure import measure_all
from fractal_dsl.evaluation.run import Run, RunResult
from fractal_dsl.graph.path_lengths import weighted_depths
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.language.source import Source
from fractal_dsl.pipeline import check, compile_text
from fractal_dsl.runs.report import write_report
from fractal_dsl.runtime import build
from fractal_dsl.training.step import Stepper, plans
from fractal_dsl.training.train import resume, train

SPEC = """frac 1
param columns: int = 2
layer conv(out: int) = conv2d(out, 3, padding=1, bias=false) >> dropout2d(20%) >> batchnorm2d >> relu
rule F(out: int) join mean {
    F[1]   = conv(out)
    F[n+1] = F[n] >> F[n] | conv(out)
}
net Tiny(image: f32[1, 8, 8]) -> f32[4]
    with drop_path(DROP), init("xavier")
    = F[columns](6).each(maxpool2d(2)) >> flatten >> linear(4)
train {
    dataset   = synthetic(size=240, noise=0.1)
    epochs    = 2
    optimizer = sgd(lr=0.05, momentum=0.9)
}
"""


def tiny(drop: str = "local=15%, global=50%", **params: str) -> Compiled:
    return compile_text(SPEC.replace("DROP", drop), params)


def run(
    folder: Path, *overrides: tuple[str, Any], spec: Compiled | None = None, console: Console | None = None
) -> RunResult:
    spec = spec or tiny()
    return train(spec, parse_config(merge(spec.program.train, overrides)), folder, console=console or quiet())


def quiet() -> Console:
    return Console(file=StringIO())


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("run") / "tiny"
    run(folder, ("epochs", 6), ("track_columns", True))
    return folder


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


def test_it_learns(done: Path) -> None:
    result = json.loads((done / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["accuracy"] > 0.8
    assert [c["column"] for c in result["columns"]] == [1, 2]
    assert all(c["accuracy"] > 0.6 for c in result["columns"])


def test_the_folder_has_all_parts(done: Path) -> None:
    names = {file.name for file in done.iterdir()}
    assert names == {
        "spec",
        "params.json",
        "config.json",
        "metrics.jsonl",
        "last.safetensors",
        ".lock",
        ".weights.json",
        "best.safetensors",
        "result.json",
        "curves.svg",
        "columns.svg",
        "losses.svg",
        "gradients.json",
        "gradients.svg",
        "paths.svg",
        "paths.json",
        "data.json",
        "sessions.json",
        "mistakes.json",
        "report.html",
        "manifest.json",
        "checkpoints",
    }
    lines = [json.loads(line) for line in (done / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 7))
    assert {"step", "lr", "train_loss", "train_accuracy", "images_per_second", "validation"} <= lines[0].keys()
    assert [round(line["lr"], 6) for line in lines] == [0.05, 0.05, 0.05, 0.005, 0.005, 0.0005]
    norms = json.loads((done / "gradients.json").read_text())
    assert {*norms} == {*weighted_depths(tiny().graph)} and all(norm > 0 for norm in norms.values())
    assert (done / "best.safetensors").stat().st_mode == (done / "config.json").stat().st_mode


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports are not looked at, and take long to draw."""
    monkeypatch.setattr("fractal_dsl.training.finish.write_report", lambda folder: None)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("drop", ["local=15%, global=50%", "local=15%, columns=all"])
def test_a_run_repeats_to_the_last_bit(tmp_path: Path, drop: str) -> None:
    hashes: list[str] = []
    for i in range(2):
        torch.manual_seed(i)  # what was drawn before does not count
        run(tmp_path / str(i), spec=tiny(drop))
        hashes.append(weights_sha256(Run.open(tmp_path / str(i)).load("last")))
    assert hashes[0] == hashes[1]
    run(tmp_path / "other", ("seed", 1), spec=tiny(drop))
    assert weights_sha256(Run.open(tmp_path / "other").load("last")) != hashes[0]


def test_training_leaves_the_callers_generator_and_threads(tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected, threads = torch.rand(1), torch.get_num_threads()
    torch.manual_seed(3)
    run(tmp_path / "run", ("epochs", 1))
    assert torch.equal(torch.rand(1), expected)
    assert torch.get_num_threads() == threads


def test_all_columns_train_on_each_batch() -> None:
    model = build(tiny("local=15%, columns=all", columns="3"), 0)
    found = list(plans(model, 0, 0))
    assert [plan.route for plan, _ in found] == [0, 1, 2, 3]
    assert [weight for _, weight in found] == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3])


def test_plain_net_without_drop_path_or_validation(tmp_path: Path) -> None:
    spec = compile_text(
        'net Plain(x: f32[3]) -> f32[2] = linear(4) >> relu >> linear(2)\ntrain { dataset = "synthetic" epochs = 2 }'
    )
    result = run(tmp_path / "run", ("validation", 0), spec=spec)
    assert result.best_epoch == 2
    assert len(result.measured["columns"]) == 1
    opened = Run.open(tmp_path / "run")
    assert weights_sha256(opened.load("best")) == weights_sha256(opened.load("last"))


@pytest.mark.parametrize(
    ("drop", "tracked", "columns"),
    [
        ("local=15%", False, 0),
        ("local=15%", True, 2),
        ("local=15%, global=50%", False, 2),
        ("local=15%, columns=all", False, 2),
    ],
)
def test_validation_measures_columns_that_are_trained_or_tracked(
    tmp_path: Path, drop: str, tracked: bool, columns: int
) -> None:
    result = run(tmp_path / "run", ("track_columns", tracked), spec=tiny(drop))
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [len(json.loads(line)["validation"]["columns"]) for line in lines] == [columns] * 2
    assert len(result.measured["columns"]) == 2
    write_report(tmp_path / "run")
    assert "Columns" in (tmp_path / "run" / "report.html").read_text()


def test_a_run_that_measured_columns_continues_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier versions measured the columns of every net."""
    with monkeypatch.context() as patch:
        patch.setattr("fractal_dsl.training.loop.Loop._measures_columns", lambda loop: True)
        run(tmp_path / "run", ("schedule", "constant"), spec=tiny("local=15%"))
    resume(tmp_path / "run", epochs=3, console=quiet())
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [len(json.loads(line)["validation"]["columns"]) for line in lines] == [2] * 3


def test_evaluate_agrees_with_the_run(done: Path) -> None:
    opened = Run.open(done)
    found = evaluate(opened, columns=True)
    result = json.loads((done / "result.json").read_text())
    assert list(found) == ["loss", "accuracy", "macro_f1", "columns", "confusion", "weights_sha256"]
    rows = np.array(found["confusion"])
    assert rows.trace() / rows.sum() == found["accuracy"]
    assert found["accuracy"] == result["accuracy"]
    assert found["columns"] == result["columns"]
    assert evaluate(opened)["columns"] == []
    assert re.fullmatch("[0-9a-f]{64}", found["weights_sha256"])


def test_weights_sha256_covers_names_parameters_and_buffers() -> None:
    hashes = set[str]()
    for change in range(4):
        module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
        for value in module.state_dict().values():
            value.zero_()
        if change == 1:
            module[0].weight.data[0, 0] = 1  # type: ignore[union-attr]
        if change == 2:
            module[1].running_mean[0] = 1  # type: ignore[index, operator]
        hashes.add(weights_sha256(torch.nn.Sequential(module) if change == 3 else module))
    assert len(hashes) == 4


def test_a_column_that_overflows_is_no_divergence(tmp_path: Path) -> None:
    spec = tiny()
    model = build(spec, 0)
    for name, value in model.state_dict().items():
        if name.endswith("running_var_column2"):
            value.fill_(1e-38)
        if name.endswith("conv2d.weight"):
            value.mul_(1e30)
    images = load(parse_config(spec.program.train), "Tiny", model.inputs, model.outputs, torch.device("cpu"))
    measured = measure_all(model, images, images.test)
    assert measured["columns"][1]["loss"] == pytest.approx(3.4028e38, rel=1e-4)
    json.dumps(measured, allow_nan=False)


# --- what goes wrong


def test_a_taken_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        run(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["note.txt"]
    with pytest.raises(UserError, match="not empty"):
        run(tmp_path / "note.txt")


def test_an_unwritable_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot create the folder"):
        run(tmp_path / "file" / "run")


@pytest.mark.usefixtures("undrawn")
def test_runs_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = tiny()
    config = parse_config(merge(spec.program.train, [("epochs", 1)]))
    folders = [train(spec, config, console=quiet()).folder for _ in range(2)]
    assert folders == [Path("runs/tiny-1"), Path("runs/tiny-2")]


def test_wrong_data_leave_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="digits"):
        run(tmp_path / "run", ("dataset", "digits"))
    assert not (tmp_path / "run").exists()


def test_missing_matplotlib_is_told_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("fractal_dsl.runs.plots.find_spec", lambda name: None if name == "matplotlib" else find(name))
    with pytest.raises(UserError, match=r"fractal_dsl\[train\]"):
        run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    spec = tiny()
    with pytest.raises(UserError, match="no device `nothing`"):
        train(spec, parse_config(spec.program.train), tmp_path / "run", device="nothing", console=quiet())


def test_divergence_keeps_the_last_good_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Stepper.step

    def broken(self: Stepper, x: Any, y: Any, number: int, rate: float) -> Any:
        loss, right = step(self, x, y, number, rate)
        if number == 8:
            with torch.no_grad():
                next(iter(self.model.parameters())).fill_(float("nan"))
        return loss, right

    monkeypatch.setattr(Stepper, "step", broken)
    with pytest.raises(UserError, match=r"diverged in epoch 2.*after epoch 1.*--set optimizer.lr=0.005"):
        run(tmp_path / "run", ("epochs", 5))
    opened = Run.open(tmp_path / "run")
    assert opened.manifest.status == "diverged"
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1
    assert all(value.isfinite().all() for value in opened.load("last").parameters())


def test_a_rate_that_is_far_too_high(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="diverged"):
        run(tmp_path / "run", ("optimizer.lr", 1e30))
    assert all(value.isfinite().all() for value in Run.open(tmp_path / "run").load("last").parameters())


def test_ctrl_c_saves_and_finishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Stepper.step

    def interrupted(self: Stepper, x: Any, y: Any, number: int, rate: float) -> Any:
        if number == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, x, y, number, rate)

    monkeypatch.setattr(Stepper, "step", interrupted)
    before = signal.getsignal(signal.SIGINT)
    shown = Console(file=StringIO(), width=300)
    result = run(tmp_path / "run", ("epochs", 50), console=shown)
    assert result.status == "interrupted"
    assert result.epochs == 1
    assert "stopped by Ctrl-C in epoch 2, after step 8" in shown.file.getvalue()  # type: ignore[attr-defined]
    assert signal.getsignal(signal.SIGINT) == before
    opened = Run.open(tmp_path / "run")
    assert weights_sha256(opened.load("last")) != weights_sha256(opened.load("best"))
    assert "The run was interrupted." in (tmp_path / "run" / "report.html").read_text()


def test_stopped_in_the_first_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Stepper.step

    def stopped(self: Stepper, x: Any, y: Any, number: int, rate: float) -> Any:
        if number == 3:
            os.kill(os.getpid(), signal.SIGTERM)  # as Slurm does
        return step(self, x, y, number, rate)

    monkeypatch.setattr(Stepper, "step", stopped)
    shown = Console(file=StringIO(), width=300)
    result = run(tmp_path / "run", console=shown)
    said = shown.file.getvalue()  # type: ignore[attr-defined]
    assert "stopped by SIGTERM in epoch 1, after step 4. To resume: " in said
    assert "test images, with the weights after step 4: " in said
    assert (result.status, result.epochs, result.best_epoch) == ("interrupted", 0, 0)
    assert result.images_per_second > 0
    opened = Run.open(tmp_path / "run")
    assert weights_sha256(opened.load("best")) == weights_sha256(opened.load("last"))
    assert weights_sha256(opened.load("best")) != weights_sha256(build(opened.compiled, 0).eval())
    assert "weights at the stop: no epoch was finished" in (tmp_path / "run/report.html").read_text()
    assert resume(tmp_path / "run", console=quiet()).best_epoch > 0


def test_one_value_per_channel_is_explained(tmp_path: Path) -> None:
    spec = compile_text("net N(x: f32[3]) -> f32[2] = linear(4) >> batchnorm1d >> linear(2)")
    with pytest.raises(UserError, match="raise `batch`"):
        train(spec, parse_config({"dataset": "synthetic", "batch": 1}), tmp_path / "run", console=quiet())


def test_plain_lines_when_not_a_terminal(tmp_path: Path) -> None:
    shown = Console(file=StringIO(), width=60)
    run(tmp_path / "run", console=shown)
    text = shown.file.getvalue()  # type: ignore[attr-defined]
    long = [line.strip() for line in text.splitlines() if len(line) > 60]
    assert all(" " not in line.removeprefix("report: ") for line in long)  # paths to copy
    first, *lines = [" ".join(line.split()) for line in text.replace("\n    ", " ").splitlines()]
    assert first.startswith(
        "training Tiny on synthetic: 173 training, 19 validation, 48 test images of uint8 [1, 8, 8]; "
        "4 classes: 0, 1, 2, 3; cpu; into "
    )
    pattern = r"epoch {}/2 loss \d.\d+ accuracy [\d.]+% validation .*\(columns .*\) rate .* [\d,]+ images/s"
    pattern += r"( waiting for data \d+%)?( \d:\d\d left)?"
    assert len(lines) == 4
    assert all(re.fullmatch(pattern.format(i), line) for i, line in enumerate(lines[:2], 1))
    assert re.fullmatch(r"test images, with the weights of epoch \d: +[\d.]+% \(columns .*\)", lines[2])
    assert lines[3] == f"report: {tmp_path / 'run' / 'report.html'}"


def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    shown = Console(file=StringIO(), force_terminal=True, width=160)
    run(tmp_path / "run", console=shown)
    text = shown.file.getvalue()  # type: ignore[attr-defined]
    assert "epoch 1/2" in text and "images/s" in text and "━" in text


# --- damaged runs


@pytest.mark.parametrize("name", ["spec/spec.frac", "params.json", "config.json", "best.safetensors", "metrics.jsonl"])
@pytest.mark.parametrize("damage", ["missing", "altered", "cut"])
def test_a_damaged_part_is_named(done: Path, tmp_path: Path, name: str, damage: str) -> None:
    folder = copied(done, tmp_path / "copy")
    file = folder / name
    if damage == "missing":
        file.unlink()
    elif damage == "altered":
        file.write_bytes(file.read_bytes()[:-1] + b"#")
    else:
        file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(UserError, match=name):
        Run.open(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"format": "fractal_dsl run"}', "\x00\xff"])
def test_a_damaged_manifest_is_refused(done: Path, tmp_path: Path, text: str) -> None:
    folder = copied(done, tmp_path / "copy")
    (folder / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"manifest\.json"):
        Run.open(folder)


def test_python_code_that_is_not_allowed_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "ownlayers.py").write_text("from torch.nn import Tanh\nclass Bend(Tanh): pass\n")
    text = 'extern layer bend from "ownlayers:Bend"\nnet N(x: f32[3]) -> f32[2] = linear(4) >> bend >> linear(2)\n'
    source = Source("spec.frac", text + 'train { dataset = "synthetic" epochs = 1 }')
    (spec,) = check(source, allow_python=True)
    run(tmp_path / "run", spec=spec)
    change(tmp_path / "run", status="running")
    for opened in (Run.open, resume):
        with pytest.raises(FracError) as caught:
            opened(tmp_path / "run")
        assert "pass `--allow-python`" in str(caught.value.diagnostics[0].help)
    resume(tmp_path / "run", allow_python=True, console=quiet())
    Run.open(tmp_path / "run", allow_python=True)


def change(folder: Path, **entries: object) -> None:
    """Another manifest, sealed as its writer would have."""
    write_manifest(folder, json.loads((folder / "manifest.json").read_text()) | entries)


def test_other_folders_are_no_runs(done: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        Run.open(tmp_path / "nothing")
    with pytest.raises(UserError, match="not a training run"):
        Run.open(tmp_path)
    folder = copied(done, tmp_path / "copy")
    change(folder, graph_sha256="0")
    with pytest.raises(UserError, match="another graph"):
        Run.open(folder)
    change(folder, format_version=99)
    with pytest.raises(UserError, match="format 99"):
        Run.open(folder)
    change(folder, format="fractal_dsl network")
    with pytest.raises(UserError, match="it is a compiled network"):
        Run.open(folder)


# --- the page


def test_the_report_opens_offline_and_names_everything(done: Path) -> None:
    page = (done / "report.html").read_text()
    assert page.count("<svg") == 5
    outside = re.findall(r'(?:src|href)="(?!data:image/png)([^#"][^"]*)"|url\((?!#)([^)]*)\)|@import', page)
    assert not outside
    for text in ("column 2 alone", "optimizer.lr", "fractal_dsl", "torch", "epoch", "join mean"):
        assert text in page


def test_pictures_are_svg_with_units(done: Path) -> None:
    for name, texts in {
        "curves.svg": ["epoch", "cross-entropy (nats per example)", "classified correctly (%)"],
        "columns.svg": ["column 1", "column 2", "whole net", "classified correctly (%)"],
    }.items():
        drawn = (done / name).read_text()
        assert ET.fromstring(drawn).tag.endswith("svg")
        assert all(text in drawn for text in texts)


def test_the_networks_picture_is_in_the_page(done: Path, tmp_path: Path) -> None:
    folder = copied(done, tmp_path / "copy")
    (folder / "graph.svg").write_text('<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><g/></svg>')
    write_report(folder)
    assert (folder / "report.html").read_text().count("<svg") == 6
    assert "<?xml" not in (folder / "report.html").read_text()


def test_a_hostile_name_does_not_break_the_page(done: Path, tmp_path: Path) -> None:
    folder = copied(done, tmp_path / "<script>alert(1)<")
    write_report(folder)
    assert "<script" not in (folder / "report.html").read_text()


def test_sizes_that_cannot_be_meant_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"`validation` = 0\.001 of 192 training examples selects none"):
        run(tmp_path / "a", ("validation", 0.001))
    shown = Console(file=StringIO(), width=200)
    run(tmp_path / "b", ("batch", 5000), console=shown)
    assert "a mini-batch of 5,000 takes all 173 training images" in shown.file.getvalue()  # type: ignore[attr-defined]
