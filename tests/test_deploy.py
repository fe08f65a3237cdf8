"""Deployment: every net of a run in other runtimes, held against the run, and what can go wrong on the way."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.lock import LOCK, Lock
from fractal_dsl.cli.app import app
from fractal_dsl.config import parse_config
from fractal_dsl.deploy import children, targets
from fractal_dsl.deploy import deploy as deployment
from fractal_dsl.deploy.deploy import Options, deploy
from fractal_dsl.deploy.export.anytime import anytime_onnx
from fractal_dsl.deploy.export.onnx import save_onnx
from fractal_dsl.deploy.measure import Job
from fractal_dsl.deploy.nets import plain_net
from fractal_dsl.deploy.origin import open_origin
from fractal_dsl.deploy.runtimes import load_exported
from fractal_dsl.deploy.samples import Expected, difference
from fractal_dsl.deploy.shelf import Shelf
from fractal_dsl.deploy.work import Export, Exported, Exports
from fractal_dsl.evaluation.evaluate import evaluate
from fractal_dsl.evaluation.run import Run
from fractal_dsl.pipeline import compile_file, compile_text
from fractal_dsl.runtime import build
from fractal_dsl.runtime.anytime import Anytime
from fractal_dsl.runtime.artifact import save_artifact
from fractal_dsl.training.train import train

EXAMPLES = Path(__file__).parent.parent / "examples"
TINY = """
layer conv(out: int) = conv2d(out, 3, padding=1, bias=false) >> batchnorm2d >> relu
rule F(out: int) join mean { F[1] = conv(out)  F[n+1] = F[n] >> F[n] | conv(out) }
net Tiny(image: f32[1, 8, 8]) -> f32[10] with drop_path(columns=all)
    = F[2](8).each(maxpool2d(2)) >> flatten >> linear(10)
train { dataset = "digits"  epochs = 2  batch = 32  optimizer = sgd(lr=0.05, momentum=0.9) }
"""
NETS = ["column1", "column2", "whole", "anytime"]


def trained(folder: Path, text: str = TINY) -> Path:
    compiled = compile_text(text)
    train(compiled, parse_config(compiled.program.train), folder, device="cpu")
    return folder


def cli(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("deploy") / "run")


@pytest.fixture(scope="module")
def shelf(run: Path) -> Path:
    """All nets of the run by ONNX."""
    folder = run.parent / "shelf"
    done = cli("deploy", run, "-o", folder, "--to", "onnx", "--budget-ms", 1000)
    assert done.exit_code == 0, done.output
    return folder


def test_the_shelf_holds_each_net_verified_and_measured(run: Path, shelf: Path) -> None:
    rows = json.loads((shelf / "shelf.json").read_text())
    assert [(row["net"], row["target"]) for row in rows] == [(net, "onnx") for net in NETS]
    right = evaluate(Run.open(run), columns=True)
    accuracies = [*(column["accuracy"] for column in right["columns"]), right["accuracy"]]
    assert [row["accuracy"] for row in rows[:3]] == accuracies
    for row in rows:
        assert row["verified"] and row["difference"] <= 1e-4 and row["file"] == f"{row['net']}.onnx"
        assert row["bytes"] == (shelf / row["file"]).stat().st_size and row["memory"] > 1e6
        assert 0 < row["ms"] <= row["ms_p95"] and row["ms_mean"] > 0
        assert (row["batch"], row["threads"], row["warmup"]) == (1, 1, 10)
    manifest = json.loads((shelf / "manifest.json").read_text())
    assert manifest["classes"] == Run.open(run).data().classes and manifest["decoding"]["scale"] == 16 / 255
    assert not [path.name for path in shelf.iterdir() if path.name.startswith(".fractal")]


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_exported_nets_take_raw_batches_of_any_size(run: Path, shelf: Path, batch: int) -> None:
    model = open_origin(run, "best", 1000, False).model
    x = np.random.default_rng(batch).uniform(0, 16, (batch, 1, 8, 8)).astype(np.float32)
    for net in NETS[:3]:
        (y,), _ = load_exported("onnx", str(shelf / f"{net}.onnx"), [], 1)((x,), 0)
        with torch.no_grad():
            expected = plain_net(model, net, fold=False)(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_the_page_works_offline_and_shows_every_row(shelf: Path) -> None:
    page = (shelf / "shelf.html").read_text()
    assert page.count("<circle") >= len(NETS) and all(f">{net}<" in page for net in NETS)
    assert not any(word in page for word in ("http:", "https:", "<script", "url("))


def test_what_is_verified_stays(run: Path, shelf: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in shelf.glob("*.onnx")}
    done = deploy(run, shelf, Options(targets=("onnx",)))
    assert not done.failures
    assert {path.name: path.stat().st_mtime_ns for path in shelf.glob("*.onnx")} == before


def test_ctrl_c_says_that_the_same_command_goes_on(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(deployment, "deploy", interrupted)
    done = cli("deploy", run, "-o", tmp_path / "shelf")
    assert done.exit_code == 130 and "what was verified stays, and the same command does the rest" in done.output


def test_best_is_within_the_budget(shelf: Path) -> None:
    opened = Shelf.read(shelf)
    assert (shelf / "best").is_symlink()
    for budget in sorted({row.ms for row in opened.rows}):
        best = opened.link_best(budget)
        assert best.ms <= budget and (shelf / "best").resolve() == (shelf / best.file).resolve()
        assert all(opened.merit(r) <= opened.merit(best) for r in opened.rows if r.ms <= budget)
    nearest = min(opened.rows, key=lambda row: row.ms)
    with pytest.raises(UserError, match=rf"no net answers within 1e-07 ms: the nearest is {nearest.net} by onnx"):
        opened.link_best(1e-7)
    assert not os.path.lexists(shelf / "best")


def test_an_unmet_budget_is_reported_when_the_rest_is_done(run: Path, shelf: Path) -> None:
    done = cli("deploy", run, "-o", shelf, "--to", "onnx,hub", "--budget-ms", 1e-7)
    assert isinstance(done.exception, UserError) and "no net answers within 1e-07 ms" in str(done.exception)
    assert "shelf.html" in done.output and (shelf / "hub" / "model.safetensors").is_file()
    shutil.rmtree(shelf / "hub")
    assert cli("deploy", run, "-o", shelf, "--to", "hub").exit_code == 0
    assert "| column1 | onnx | float32 |" in (shelf / "hub" / "README.md").read_text(), "the table that was there"


def test_the_front_has_no_net_that_a_faster_one_matches(shelf: Path) -> None:
    opened = Shelf.read(shelf)
    front = opened.front()
    for row in opened.rows:
        assert any(f.ms_mean <= row.ms_mean and opened.merit(f) >= opened.merit(row) for f in front)


def test_other_weights_or_files_of_others_are_not_replaced(shelf: Path, tmp_path: Path) -> None:
    other = trained(tmp_path / "other", TINY.replace("epochs = 2", "epochs = 1"))
    with pytest.raises(UserError, match="has nets of other weights"):
        deploy(other, shelf, Options(targets=("onnx",)))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="exists and is not a shelf"):
        deploy(other, tmp_path / "mine", Options(targets=("onnx",)))


def test_two_deployments_do_not_meet(run: Path, shelf: Path) -> None:
    lock = Lock(shelf / LOCK)
    assert lock.claim()
    try:
        with pytest.raises(UserError, match="another process deploys into"):
            deploy(run, shelf, Options(targets=("onnx",)))
    finally:
        lock.release()


def test_a_damaged_shelf_is_refused(run: Path, tmp_path: Path) -> None:
    good = {"format": "fractal_dsl shelf", "format_version": 2, "task": "classification"}
    for name, text in (("manifest.json", json.dumps(good)), ("manifest.json", "[]"), ("manifest.json", "{")):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=r"damaged|not a shelf"):
            deploy(run, tmp_path, Options(targets=("pt2",)))


@pytest.mark.slow
def test_a_failed_check_is_kept_apart_and_the_exit_code_is_1(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment, "TOLERANCE", -1.0)
    folder = tmp_path / "shelf"
    done = cli("deploy", run, "-o", folder, "--to", "onnx", "--columns", "1", "--budget-ms", 1000)
    assert isinstance(done.exception, UserError) and "because none is verified" in str(done.exception)
    rows = json.loads((folder / "shelf.json").read_text())
    assert not any(row["verified"] for row in rows)
    assert sorted(row["file"] for row in rows) == sorted(f"failed/{n}.onnx" for n in ("anytime", "column1", "whole"))
    assert all((folder / row["file"]).is_file() and row["difference"] > 0 for row in rows)
    assert "check failed" in (folder / "shelf.html").read_text()


def test_missing_runtimes_are_skipped_by_name(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "find_spec", lambda name: None)
    monkeypatch.setattr(targets, "which", lambda name: None)
    with pytest.raises(UserError, match="nothing can be deployed") as caught:
        deploy(run, tmp_path / "shelf", Options(targets=("onnx", "aoti", "executorch", "openvino")))
    said = str(caught.value)
    assert "onnx needs onnx, onnxscript, onnxruntime: pip install 'fractal_dsl[onnx]'" in said
    assert "executorch needs executorch" in said and "aoti needs a C++ compiler, such as g++" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "onxx"], "there is no format `onxx`, did you mean `onnx`? The formats are"),
        (["--to", "hubb"], "did you mean `hub`?"),
        (["--to", "xx"], "there is no format `xx`. The formats are"),
        (["--to", ","], "name at least one of"),
        (["--columns", "1,x"], "is not a list of column numbers"),
        (["--columns", "7"], "there is no column 7"),
        (["--budget-ms", "nan"], "'--budget-ms'"),
        (["--batch", "0"], "must be at least 1, found 0"),
        (["--to", "pt2", "--int8"], "--int8 quantizes nets for onnx only: add it to --to"),
        (["--to", "hub", "--int8"], "--to hub alone exports nothing"),
        (["--to", "hub", "--budget-ms", "1"], "--to hub alone exports nothing"),
    ],
)
def test_wrong_options(run: Path, tmp_path: Path, options: list[str], message: str) -> None:
    done = cli("deploy", run, "-o", tmp_path / "shelf", *options)
    said = done.output + str(done.exception)
    assert done.exit_code and message in " ".join(said.replace("│", " ").split()), said
    assert not (tmp_path / "shelf").exists()


def test_a_run_without_its_test_data_says_how_to_go_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.normal(size=(60, 7)).astype(np.float32), y=np.arange(60) % 3)
    text = f'net N(x: f32[7]) -> f32[3] = linear(3)\ntrain {{ dataset = "npz:{tmp_path}/d.npz" epochs = 1 }}'
    trained(tmp_path / "run", text)
    (tmp_path / "d.npz").unlink()
    with pytest.raises(UserError, match=r"test data of .* cannot be read.*fractal-dsl compile"):
        deploy(tmp_path / "run", tmp_path / "shelf", Options(targets=("pt2",)))


def test_int8_needs_training_images(tmp_path: Path) -> None:
    compiled = compile_text(TINY)
    save_artifact(compiled, build(compiled), tmp_path / "net")
    with pytest.raises(UserError, match="int8 needs training examples"):
        deploy(tmp_path / "net", tmp_path / "shelf", Options(targets=("onnx",), int8=True))


# --- processes


def dying(how: str) -> Any:
    code = {"signal": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "error": "raise SystemExit('no room')"}
    return lambda module, job, log: subprocess.Popen(
        [sys.executable, "-c", code[how]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
    )


class Asked:
    """Stands in for the process that exports. It keeps the job and the net of its source, and exports nothing."""

    def __init__(self, job: Exports, work: Path) -> None:
        self.job = job
        self.net = open_origin(Path(job.source), "best", 10_000, False).model

    def __iter__(self) -> Any:
        return iter([(export, Exported(error="not now")) for export in self.job.exports])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """The jobs of deployments, which export nothing."""
    jobs: list[Asked] = []

    def exporter(job: Exports, work: Path) -> Asked:
        jobs.append(Asked(job, work))
        return jobs[-1]

    monkeypatch.setattr(deployment, "Exporter", exporter)
    return jobs


def test_a_run_that_trains_on_is_deployed_as_it_was_opened(
    run: Path, tmp_path: Path, asked: list[Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    read = deployment.samples_of

    def late(origin: Any, *rest: Any, **options: Any) -> Any:
        (folder / "best.safetensors").unlink()  # as an epoch replaces it
        return read(origin, *rest, **options)

    monkeypatch.setattr(deployment, "samples_of", late)
    deploy(folder, tmp_path / "shelf", Options(targets=("pt2",)))
    x = torch.rand(4, 1, 8, 8) * 16
    own = open_origin(run, "best", 10_000, False).model
    assert torch.equal(asked[0].net(x), own(x))
    for k in (1, 2):
        assert torch.equal(asked[0].net.run(x, own.column_plan(k)), own.run(x, own.column_plan(k)))


def test_an_anytime_net_of_other_columns_is_made_again(
    run: Path, shelf: Path, tmp_path: Path, asked: list[Asked]
) -> None:
    folder = shutil.copytree(shelf, tmp_path / "shelf", symlinks=True)
    deploy(run, folder, Options(targets=("onnx",)))
    assert not asked
    deploy(run, folder, Options(targets=("onnx",), columns=(2,)))
    assert [(e.net, e.target) for e in asked[0].job.exports] == [("anytime", "onnx")] and asked[0].job.columns == (2,)


@pytest.mark.slow
def test_an_anytime_net_asks_the_chosen_columns(tmp_path: Path) -> None:
    """It has neither the answer nor the weights of another column."""
    model = build(compile_text(TINY.replace("F[2]", "F[3]")), seed=2).eval()
    planned = Anytime(model, [1, 3])
    assert [increment.column for increment in planned.increments] == [1, 3, None]
    assert len(Anytime(model).increments) == 4
    save_onnx(anytime_onnx(model, [1]), tmp_path / "net.onnx")
    run = load_exported("onnx", str(tmp_path / "net.onnx"), ["column1", "whole"], 1)
    x = torch.randn(1, 1, 8, 8)
    for confidence, plan, number in ((0.0, model.column_plan(1), 0), (1.0, model.full_plan(), 1)):
        (y,), answer = run((x.numpy(),), confidence)
        assert answer == number
        np.testing.assert_allclose(y, model.run(x, plan).detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("how", "said"), [("signal", "crashed (SIGSEGV)"), ("error", "failed: no room")])
def test_a_crash_is_a_message_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, said: str
) -> None:
    monkeypatch.setattr(children, "_process", dying(how))
    exports = [Export(str(i), "onnx", "float32", str(tmp_path / str(i))) for i in range(2)]
    job = Exports("run", 10, False, 1, 1, None, exports)
    done = list(children.Exporter(job, tmp_path))
    assert [export.net for export, _ in done] == ["0", "1"]
    assert all(result.error == f"the export {said}" for _, result in done)
    measuring = Job("onnx", "x.onnx", [], 1, 1, 0.9, ["checks.npy"], ["tests.npy"])
    assert children.measured_in_runtime(measuring, tmp_path) == f"the runtime {said}"


def test_a_process_killed_for_memory_says_so(tmp_path: Path) -> None:
    assert "perhaps for lack of memory" in children.crash(-signal.SIGKILL, tmp_path / "log", "the runtime")


def test_the_message_of_an_exception_is_its_first_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        'warning: slow\nTraceback (most recent call last):\n  File "x.py", line 1\n    load()\n'
        "TypeError: wrong arguments. These are supported:\n    1. (int)\n\nInvoked with: 'x'\n"
    )
    said = "the runtime failed: TypeError: wrong arguments. These are supported:"
    assert children.crash(1, log, "the runtime") == said


def test_a_file_that_is_no_net_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    np.save(tmp_path / "x.npy", np.zeros((2, 1), np.float32))
    inputs = [str(tmp_path / "x.npy")]
    job = Job("onnx", str(tmp_path / "x.onnx"), [], 1, 1, 0.9, inputs, inputs)
    result = children.measured_in_runtime(job, tmp_path)
    assert isinstance(result, str) and result.startswith("the runtime failed: ")


# --- a full disk


def test_a_full_disk_leaves_what_was_verified(
    run: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(shelf, tmp_path / "shelf", symlinks=True))
    (copy / "column1.onnx").unlink()
    before = {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file()}

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(deployment.np, "save", full)
    done = cli("deploy", run, "-o", copy, "--to", "onnx")
    assert done.exit_code == 1 and isinstance(done.exception, UserError)
    assert str(done.exception).startswith(f"cannot write into {copy}: No space left on device")
    assert {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file()} == before
    assert not [path.name for path in copy.iterdir() if path.name.startswith(".fractal")]


@pytest.mark.slow
def test_an_export_without_room_fails_alone_and_is_made_later(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that exports may write files of at most 10 kB, which is enough for column 1."""
    process = children._process  # pyright: ignore[reportPrivateUsage]

    def limited(module: str, job: Path, log: Any) -> Any:
        if module != "work":
            return process(module, job, log)
        return subprocess.Popen(
            [sys.executable, "-m", "fractal_dsl.deploy.work", str(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
        )

    monkeypatch.setattr(children, "_process", limited)
    monkeypatch.setattr("fractal_dsl.base.files.shutil.disk_usage", lambda folder: SimpleNamespace(free=12_000))
    said: list[str] = []
    options = Options(targets=("onnx",), columns=(1,))
    done = deploy(run, tmp_path / "shelf", options, said.append)
    assert [row.net for row in done.shelf.rows if row.verified] == ["column1"]
    assert done.failures.keys() == {"whole by onnx", "anytime by onnx"}
    reason = done.failures["whole by onnx"]
    assert "cannot write" in reason and "File too large" in reason and "shelf has 12 kB left)" in reason
    monkeypatch.undo()
    done = deploy(run, tmp_path / "shelf", options, said.append)
    assert not done.failures and "1 net verified before: kept" in said
    assert [row.net for row in done.shelf.rows if row.verified] == ["column1", "whole", "anytime"]


# --- the check


def test_the_difference_is_relative_to_each_inputs_outputs() -> None:
    right = Expected((np.array([[[1.0, 100.0], [0.001, 0.0]]]),), np.zeros((1, 2)))
    none, y = np.zeros(2, int), right.outputs[0][0]
    assert difference((y,), none, right, 0.9) == 0
    assert difference((y + np.array([[0, 1.0], [0, 0]]),), none, right, 0.9) == pytest.approx(0.01)
    assert difference((y + np.array([[0, 0], [0, 1e-6]]),), none, right, 0.9) == pytest.approx(0.001)
    assert difference((y * np.nan,), none, right, 0.9) == float("inf")
    assert difference((y[:, :1],), none, right, 0.9) == float("inf")
    assert difference((y, y), none, right, 0.9) == float("inf")


def test_an_anytime_answer_out_of_turn_differs() -> None:
    right = Expected((np.array([[[1.0, 2.0]], [[3.0, 4.0]]]),), np.array([[0.95], [0.99]]))
    assert difference((right.outputs[0][0],), np.array([0]), right, 0.9) == 0
    assert difference((right.outputs[0][1],), np.array([1]), right, 0.9) == float("inf")
    assert difference((right.outputs[0][1],), np.array([1]), right, 0.9501) == 0, "too near to decide"


# --- anytime


def test_anytime_in_one_file_is_the_same_policy_with_each_weight_once(tmp_path: Path) -> None:
    compiled = compile_text(TINY.replace("columns=all", "global=50%"))
    model = build(compiled, seed=2).train()
    for step in range(6):
        model.run(torch.randn(16, 1, 8, 8), model.column_plan(1 + step % 2))
    planned = Anytime(model.eval())
    save_onnx(anytime_onnx(model), tmp_path / "net.onnx")
    run = load_exported("onnx", str(tmp_path / "net.onnx"), ["column1", "column2", "whole"], 1)
    for seed in range(12):
        x = torch.randn(1 + seed % 3, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        for confidence in (0.0, 0.12, 0.14, 0.18, 1.0):
            own = planned.until(x, confidence=confidence)
            (y,), answer = run((x.numpy(),), confidence)
            assert answer == (2 if own.column is None else own.column - 1)
            np.testing.assert_allclose(y, own.logits.numpy(), rtol=1e-4, atol=1e-5)
    weights = sum(p.numel() * 4 for p in model.parameters())
    assert (tmp_path / "net.onnx").stat().st_size < weights + 25_000


# --- every export of every column


@pytest.mark.slow
@pytest.mark.parametrize("target", [*targets.TARGETS])
def test_every_export_of_the_digits_is_verified(tmp_path_factory: pytest.TempPathFactory, target: str) -> None:
    if reason := targets.TARGETS[target].missing():
        pytest.skip(reason)
    place = tmp_path_factory.getbasetemp() / "digits-all"
    if not (place / "run" / "manifest.json").exists():
        compiled = compile_text((EXAMPLES / "digits.frac").read_text().replace("local=15%, global=50%", "columns=all"))
        settings = {**compiled.program.train, "epochs": 3}
        train(compiled, parse_config(settings), place / "run", device="cpu")
    done = deploy(place / "run", place / "shelf", Options(targets=(target,), int8=targets.TARGETS[target].int8))
    assert not done.failures
    names = {row.net for row in done.shelf.rows if row.target == target and row.verified}
    assert names == {"column1", "column2", "column3", "whole", "anytime"}


@pytest.mark.slow
@pytest.mark.parametrize("target", [*targets.TARGETS])
def test_every_export_of_fractalnet_20_is_verified(tmp_path_factory: pytest.TempPathFactory, target: str) -> None:
    if reason := targets.TARGETS[target].missing():
        pytest.skip(reason)
    place = tmp_path_factory.getbasetemp() / "fractalnet20"
    if not (place / "net").exists():
        compiled = compile_file(EXAMPLES / "fractalnet20_cifar.frac")
        save_artifact(compiled, build(compiled), place / "net")
    done = deploy(place / "net", place / "shelf", Options(targets=(target,)))
    assert not done.failures
    names = {row.net for row in done.shelf.rows if row.target == target and row.verified}
    assert names == {"column1", "column2", "column3", "whole", "anytime"}
