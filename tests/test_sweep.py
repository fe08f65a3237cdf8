"""Sweeps: what ranges mean, what is refused before anything is trained, and what is done, stopped and taken up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console
from typer.testing import CliRunner

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.lock import Lock
from fractal_dsl.cli.app import app
from fractal_dsl.compiled import MAX_LAYERS
from fractal_dsl.config import parse_config
from fractal_dsl.evaluation.run import Run
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.sweep import run
from fractal_dsl.sweep.checks import CheckedSweep, configured
from fractal_dsl.sweep.folder import Sweep, SweepFolder
from fractal_dsl.sweep.ledger import Ledger
from fractal_dsl.sweep.space import Axis, axis
from fractal_dsl.sweep.trial import Resources, trial_command, trial_environment

ROOT = Path(__file__).parents[1]
SPEC = """
param columns: int   = 1 in 1..3
param widths:  [int] = [4] in 1..64
param drop:    prob  = 0% in 0%..50%
param kind:    str   = "xavier" in {"xavier", "he"}
param free:    int   = 1
layer conv(out: int) = conv2d(out, 3, padding=1) >> batchnorm2d >> relu >> dropout2d(drop)
rule F(out: int) join mean {
    F[1]   = conv(out)
    F[n+1] = F[n] >> F[n] | conv(out)
}
net Tiny(image: f32[1, 8, 8]) -> f32[10] with init(kind)
    = seq(F[columns](w).each(maxpool2d(2)) for w in widths) >> flatten >> linear(10)
train {
    dataset   = "digits"
    epochs    = 1
    batch     = 128
    optimizer = sgd(lr=0.05)
}
"""


@pytest.fixture
def spec(tmp_path: Path) -> str:
    file = tmp_path / "tiny.frac"
    file.write_text(SPEC)
    return str(file)


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials are processes of their own, and find the package of this checkout."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def checked(spec: str, params: dict[str, str | None], settings: dict[str, str] | None = None) -> CheckedSweep:
    return CheckedSweep(spec, params, settings or {}, None, MAX_LAYERS, False)


# --- what ranges and sets mean


@pytest.mark.parametrize(
    ("text", "type", "values"),
    [
        ("2..5", "int", [2, 3, 4, 5]),
        ("16..64:step=16", "int", [16, 32, 48, 64]),
        ("16..70:step=16", None, [16, 32, 48, 64]),
        ("0.1..0.5:step=0.1", "float", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("0%..50%:step=25%", "prob", [0.0, 0.25, 0.5]),
        ("{16, 32}", "int", ["16", "32"]),
        ("16|32|16", "int", ["16", "32"]),
        ("[16, 32]|[32, 64]", "[int]", ["[16, 32]", "[32, 64]"]),
        ("{[1, 2], [3]}", "[int]", ["[1, 2]", "[3]"]),
        ('"a|b"|c', "str", ['"a|b"', "c"]),
        ("folder:../data", None, ["folder:../data"]),
        ("3", "int", ["3"]),
    ],
)
def test_values(text: str, type: str | None, values: list[Any]) -> None:
    found = axis("param", "x", text, type)
    assert list(found.values()) == values
    assert found.size() == len(values)


def test_ranges_without_end() -> None:
    lr = axis("setting", "optimizer.lr", "0.001..0.1:log")
    assert lr.size() is None and lr.log
    assert lr.distribution() == optuna.distributions.FloatDistribution(0.001, 0.1, log=True)
    assert axis("param", "x", "1..2", "float").size() is None
    assert axis("param", "x", "1..64:log", "int").distribution() == optuna.distributions.IntDistribution(
        1, 64, log=True
    )


@pytest.mark.parametrize(
    ("text", "type", "message"),
    [
        ("5..2", "int", "it has no values; write the lower end first: 2..5"),
        ("0..1:log", "float", "must begin above 0"),
        ("1..4:step=0", "int", "a step must be above 0"),
        ("1..2.5", "int", "whole numbers"),
        ("1..2", "[int]", "ranges need numbers: write a set"),
        ("16||32", "int", "a value is missing"),
        ("16, 32", "int", r"separate the values of a set by \|: 'x=16\|32'"),
    ],
)
def test_ranges_that_are_none(text: str, type: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        axis("param", "x", text, type)


# --- what is refused before anything is trained


@pytest.mark.parametrize(
    ("params", "message", "caret"),
    [
        ({"columns": "2..5"}, "`columns` must be in 1..3, found 5", "5"),
        ({"columns": "1|7"}, "`columns` must be in 1..3, found 7", "7"),
        ({"drop": "10%..60%"}, "`drop` must be in .*, found", "10%..60%"),
        ({"widths": "[4]|[4, 99]"}, "`widths` must be in 1..64, found 99", "[4, 99]"),
        ({"widths": "[4]|x"}, "`widths` must be \\[int\\], found `x`", "x"),
        ({"kind": "he|she"}, '`kind` must be in {"xavier", "he"}, found "she"', "she"),
        ({"colums": "1..2"}, "there is no parameter `colums`", "colums"),
    ],
)
def test_values_outside_their_domain(spec: str, params: dict[str, str | None], message: str, caret: str) -> None:
    with pytest.raises(FracError, match=message) as caught:
        checked(spec, params)
    (found,) = caught.value.diagnostics
    assert found.source.slice(found.span) == caret


@pytest.mark.parametrize(
    ("params", "settings", "message"),
    [
        ({}, {"optimizer.lr": "0..0.1"}, "optimizer.lr=0..0.1, at 0: `optimizer.lr` must be above 0"),
        ({}, {"optimizer.lrr": "0.1|0.2"}, "unknown setting `lrr`"),
        ({}, {"validation": "0|0.1"}, "set `validation` above 0"),
        ({"free": None}, {}, "has no domain to sweep"),
        ({"widths": None}, {}, "name the lists to try"),
    ],
)
def test_what_else_is_refused(spec: str, params: dict[str, str | None], settings: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        checked(spec, params, settings)


def test_a_setting_may_fit_some_values_of_another(spec: str) -> None:
    found = checked(spec, {}, {"epochs": "2|5", "schedule": "cosine", "schedule.warmup": "1.0|3.0"})
    assert [a.key for a in found.space] == ["train.epochs", "train.schedule.warmup"]
    assert found.settings == {"schedule": "cosine"}


def test_a_parameter_alone_is_its_whole_domain(spec: str) -> None:
    found = checked(spec, {"columns": None, "kind": None, "drop": None, "free": "3"})
    assert [list(a.values()) for a in found.space[:2]] == [[1, 2, 3], ['"xavier"', '"he"']]
    assert (found.space[2].low, found.space[2].high) == (0.0, 0.5)
    assert found.params == {"free": "3"}


def test_parameters_of_imported_files_are_swept(tmp_path: Path) -> None:
    (tmp_path / "base.frac").write_text("param columns: int = 1 in 1..3\nlayer conv = conv2d(4, 3) >> relu\n")
    (tmp_path / "main.frac").write_text(
        'import "base.frac" as m\nnet N(x: f32[1, 8, 8]) -> f32[2] = m.conv >> flatten >> linear(2)\n'
    )
    found = checked(str(tmp_path / "main.frac"), {"m.columns": None})
    assert list(found.space[0].values()) == [1, 2, 3]
    assert found.texts().keys() == {"main.frac", "base.frac"}


def test_optuna_missing(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fractal_dsl.sweep.ledger.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'fractal_dsl\[sweep\]'"):
        run.sweep(spec, {"columns": "1..2"}, {}, max_layers=MAX_LAYERS)


# --- the ledger


def a_sweep(*space: Axis, **changes: Any) -> Sweep:
    facts: dict[str, Any] = {"objective": "accuracy", "minimize": None, "sampler": "grid", "seed": 0, "prune": None}
    return Sweep("Tiny", space, {}, {}, MAX_LAYERS, **{**facts, "trials": 9, **changes})


def a_ledger(folder: Path, what: Sweep) -> Ledger:
    folder.mkdir(exist_ok=True)
    ledger = Ledger(SweepFolder(folder), what)
    ledger.plan()
    return ledger


COLUMNS, LR = axis("param", "columns", "1..3", "int"), axis("setting", "optimizer.lr", "0.01..0.1:log")


def test_a_sweep_is_read_as_it_was_written(tmp_path: Path) -> None:
    what = a_sweep(COLUMNS, LR, axis("param", "widths", "[1]|[2]", "[int]"), sampler="tpe", prune=2)
    SweepFolder(tmp_path / "s").create(what, {"spec.frac": SPEC})
    assert SweepFolder(tmp_path / "s").read() == what
    with pytest.raises(UserError, match=r"a sweep with another prune, spec\.frac"):
        SweepFolder(tmp_path / "s").check_same(a_sweep(*what.space, sampler="tpe", prune=3), {"spec.frac": "\n"})


def test_a_grid_is_tried_once(tmp_path: Path) -> None:
    ledger = a_ledger(tmp_path / "s", a_sweep(COLUMNS))
    tried: list[int] = []
    while claim := ledger.take():
        tried.append(claim.params["columns"])
        ledger.complete(claim.number, [0.5])
        claim.lock.release()
        ledger = a_ledger(tmp_path / "s", a_sweep(COLUMNS))  # as after a restart
    assert tried == [1, 2, 3]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_nothing_is_tried_twice_and_draws_are_those_of_the_seed(tmp_path: Path, sampler: str) -> None:
    def tried(folder: str, seed: int, restart: bool) -> list[Any]:
        what = a_sweep(COLUMNS, axis("param", "free", "1|2", "int"), sampler=sampler, seed=seed)
        ledger, found = a_ledger(tmp_path / folder, what), []
        while claim := ledger.take():
            found.append(tuple(claim.params.values()))
            ledger.complete(claim.number, [0.1 * claim.params["columns"]])
            claim.lock.release()
            if restart:
                ledger = a_ledger(tmp_path / folder, what)
        return found

    first = tried("a", 0, False)
    assert sorted(first) == [(c, w) for c in (1, 2, 3) for w in "12"]
    assert tried("b", 0, True) == first
    assert tried("c", 1, False) != first


def test_trials_of_the_dead_are_taken_up_and_those_of_the_living_are_not(tmp_path: Path) -> None:
    what = a_sweep(COLUMNS)
    first, second = a_ledger(tmp_path / "s", what), a_ledger(tmp_path / "s", what)
    mine, theirs = first.take(), second.take()
    assert mine and theirs and (mine.number, theirs.number) == (0, 1)
    theirs.lock.release()
    found = first.take()
    assert found and found.number == 1
    child = subprocess.Popen(["sleep", "60"], stdout=mine.log.fileno())
    mine.lock.release()  # this process is dead, but the one that trains lives
    again = first.take()
    assert again and again.number == 2 and first.take() is None
    child.kill()
    child.wait()
    orphan = first.take()
    assert orphan and orphan.number == 0


def test_failures_that_may_have_passed_are_tried_again(tmp_path: Path) -> None:
    ledger = a_ledger(tmp_path / "s", a_sweep(COLUMNS))
    for final in (True, False):
        claim = ledger.take()
        assert claim
        ledger.fail(claim.number, "no", final=final)
    ledger = a_ledger(tmp_path / "s", a_sweep(COLUMNS))
    left = [claim for _ in range(3) if (claim := ledger.take())]
    assert sorted(claim.params["columns"] for claim in left) == [2, 3]
    assert len(ledger.trials()) == 3


def test_half_a_line_in_the_journal_is_cut_off(tmp_path: Path) -> None:
    a_ledger(tmp_path / "s", a_sweep(COLUMNS))
    with (tmp_path / "s" / "journal.log").open("a") as journal:
        journal.write('{"op_code": 4, "wor')
    assert len(a_ledger(tmp_path / "s", a_sweep(COLUMNS)).trials()) == 3


# --- trials


def test_the_command_of_a_trial(tmp_path: Path) -> None:
    folder, what = SweepFolder(tmp_path), a_sweep(COLUMNS, LR)
    plain = trial_command(folder, 7, {"columns": "2"}, {"optimizer.lr": "0.02"}, what, Resources(device="cpu"))
    assert plain[:4] == ["-m", "fractal_dsl", "train", str(folder.spec(what))]
    assert plain[plain.index("--out") + 1] == str(tmp_path / "trial-0007")
    assert plain[-6:] == ["-p", "columns=2", "--set", "optimizer.lr=0.02", "--device", "cpu"]
    several = trial_command(folder, 7, {}, {}, what, Resources(processes=4))
    launch = "-m torch.distributed.run --standalone --nproc-per-node 4 -m fractal_dsl train"
    assert several[:8] == launch.split() and several[-2:] == ["--parallel", "ddp"]
    (tmp_path / "trial-0007" / "checkpoints" / "step-00000010").mkdir(parents=True)
    resumed = trial_command(folder, 7, {"columns": "2"}, {}, what, Resources())
    limit = ["--max-layers", str(what.max_layers)]
    assert resumed[2:] == ["train", "--resume", str(tmp_path / "trial-0007"), *limit]


def test_workers_share_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert trial_environment(Resources(workers=2, device="cpu"), 1)["OMP_NUM_THREADS"] == "4"
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    seen = [trial_environment(Resources(workers=3, processes=2), worker)["CUDA_VISIBLE_DEVICES"] for worker in range(3)]
    assert seen == ["4,5", "6,7", "4,5"]


def test_a_sweep_from_end_to_end(spec: str, tmp_path: Path) -> None:
    """Two trainings at once, two combinations that do not compile, a front of accuracy and work; nothing twice."""
    folder = tmp_path / "swept"
    line = ["sweep", spec, "-p", "columns=1..2", "-p", "widths=[4]|[4, 4, 4, 4]", "--minimize", "macs"]
    line += ["--out", str(folder), "--workers", "2"]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    assert "4 trials, a grid, 2 at once" in done.output
    assert done.output.count("failed: E0504") == 4  # as it happens, and below the table
    journal = optuna.load_study(
        study_name=None,
        storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "journal.log"))),
    )
    trials = {tuple(t.params.values()): t for t in journal.trials}
    for columns in (1, 2):
        trial = trials[columns, "[4]"]
        trained = Run.open(folder / f"trial-{trial.number:04}")
        metrics = json.loads((trained.folder / "metrics.jsonl").read_text())
        assert trial.values == [metrics["validation"]["accuracy"], trained.compiled.summary.macs]
        assert trial.user_attrs["params"] == trained.compiled.summary.params
        assert trials[columns, "[4, 4, 4, 4]"].state == TrialState.FAIL
    page = (folder / "sweep.html").read_text()
    assert page.count("report.html") == 2 and "<svg" in page and (folder / "sweep.svg").is_file()

    before = (folder / "journal.log").read_bytes()
    again = CliRunner().invoke(app, line)
    shown = CliRunner().invoke(app, ["sweep", str(folder), "--show"])
    assert again.exit_code == shown.exit_code == 0
    assert before == (folder / "journal.log").read_bytes(), "something was tried again"
    starred = {row.split()[0] for row in shown.output.splitlines() if " * " in row}
    assert starred == {str(t.number) for t in journal.best_trials}
    assert "another minimize" in str(CliRunner().invoke(app, [*line, "--minimize", "params"]).exception)


def test_flags_of_train_are_settings_of_each_trial(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []

    def note(spec: str, params: object, settings: dict[str, str], *_: object, **__: object) -> bool:
        seen.append(settings)
        return True

    monkeypatch.setattr("fractal_dsl.sweep.run.sweep", note)
    line = ["sweep", spec, "-p", "columns=1..2", "--set", "clip=1|2"]
    flags = "--epochs 3 --batch 8 --lr 0.5 --precision bf16 --channels-last --dataset folder:../a"
    assert CliRunner().invoke(app, [*line, *flags.split()]).exit_code == 0
    assert configured({}, {key: text for key, text in seen[0].items() if key != "clip"}) == parse_config(
        {
            "epochs": 3,
            "batch": 8,
            "optimizer": {"lr": 0.5},
            "precision": "bf16",
            "channels_last": True,
            "dataset": "folder:../a",
        }
    )
    assert seen[0]["clip"] == "1|2"
    twice = CliRunner().invoke(app, [*line, "--lr", "1", "--set", "optimizer.lr=1..2"])
    assert twice.exit_code == 2 and "--set optimizer.lr=1..2 also gives" in twice.output


def test_a_sweep_of_which_every_trial_fails_is_an_error(spec: str, tmp_path: Path) -> None:
    line = ["sweep", spec, "-p", "widths=[4, 4, 4, 4]|[4, 4, 4, 4, 4]", "-p", "kind", "--out", str(tmp_path / "s")]
    done = CliRunner().invoke(app, line)
    assert "no trial finished; the first failure: E0504" in str(done.exception)
    assert "over widths=[4, 4, 4, 4]|[4, 4, 4, 4, 4], kind=" in done.output  # as they were given


@pytest.mark.slow
def test_a_trial_below_the_median_is_stopped(spec: str, tmp_path: Path) -> None:
    params, settings = {"columns": "1..3"}, {"epochs": "500", "optimizer.lr": "1e-6"}
    found = checked(spec, params, settings)
    what = Sweep("Tiny", found.space, {}, found.settings, MAX_LAYERS, "accuracy", None, "grid", 0, 1, 1, "tiny.frac")
    folder = SweepFolder(tmp_path / "s")
    folder.create(what, found.texts())
    ledger = Ledger(folder, what)
    distributions = {a.key: a.distribution() for a in found.space}
    for _ in range(5):
        good = optuna.trial.create_trial(
            params={"columns": 3},
            distributions=distributions,
            value=0.9,
            intermediate_values=dict.fromkeys(range(1, 501), 0.9),
            user_attrs={"params": 1, "macs": 1, "seconds": 1.0},
        )
        ledger.study.add_trial(good)
    ledger.study.enqueue_trial({"columns": 1})
    console = Console(width=200, record=True, file=(tmp_path / "said").open("w"))
    assert run.go_on(folder.path, trials=6, console=console)
    trial = next(t for t in ledger.trials() if t.params == {"columns": 1})
    assert trial.state == TrialState.PRUNED
    assert Run.open(folder.trial(trial.number)).manifest.status == "interrupted"  # it could be resumed
    assert f"trial {trial.number}: pruned after epoch" in console.export_text()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_sweep_that_was_stopped_goes_on(spec: str, tmp_path: Path, how: signal.Signals) -> None:
    """The trial that was running goes on from where it was, those that were done are not run again."""
    folder = tmp_path / "swept"
    line = [sys.executable, "-m", "fractal_dsl", "sweep", spec, "-p", "columns=2..3", "--set", "epochs=40"]
    line += ["--out", str(folder)]
    sweeping = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    metrics = folder / "trial-0000" / "metrics.jsonl"
    while not metrics.exists() or metrics.read_text().count("\n") < 2:
        assert sweeping.poll() is None
        time.sleep(0.05)
    os.kill(sweeping.pid, how)
    said = sweeping.communicate()[0]
    if how == signal.SIGINT:
        assert sweeping.returncode == 130
        assert f"To resume: fractal-dsl sweep {folder}" in said
        assert metrics.read_text().count("\n") < 40
    rest = subprocess.run([*line[:4], str(folder)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "the best is trial" in rest.stdout
    for number in (0, 1):
        assert Run.open(folder / f"trial-{number:04}").manifest.status == "finished"
        assert (folder / f"trial-{number:04}" / "metrics.jsonl").read_text().count("\n") == 40
    assert not (folder / "trial-0002").exists()


def test_a_sweep_that_goes_on_keeps_what_it_does(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["sweep", str(tmp_path), "-p", "columns=1..2"])
    assert done.exit_code == 2 and "a resumed sweep keeps its parameters" in done.output


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "l"), Lock(tmp_path / "l")
    assert first.claim() and not second.claim()
    first.release()
    assert second.claim()


@pytest.mark.parametrize(
    "key", ["net", "space", "params", "settings", "objective", "sampler", "seed", "trials", "spec"]
)
def test_a_sweeps_file_may_say_anything(tmp_path: Path, key: str) -> None:
    folder = SweepFolder(tmp_path / "s")
    folder.create(a_sweep(COLUMNS, LR), {"spec.frac": SPEC})
    file = folder.path / "sweep.json"
    data = json.loads(file.read_text())
    for value in (None, True, 1.5, [], [[]], [{"kind": 1}], {"a": 1}, "../x", "/etc/passwd"):
        if not (isinstance(value, str) and key in ("net", "given")) and not (key == "space" and value == []):
            file.write_text(json.dumps({**data, key: value}))
            if not (key in ("params", "settings") and value == {}):
                with pytest.raises(UserError, match=r"is damaged|is missing"):
                    folder.read()


def test_the_limit_in_a_sweeps_file_is_not_believed(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    monkeypatch.setattr("fractal_dsl.sweep.run._run", lambda folder, sweep, *rest: found.append(sweep.max_layers))
    folder = SweepFolder(tmp_path / "s")
    folder.create(replace(a_sweep(COLUMNS), max_layers=10**30), {"spec.frac": SPEC})
    run.go_on(folder.path)
    run.go_on(folder.path, max_layers=7)
    assert found == [MAX_LAYERS, 7]
