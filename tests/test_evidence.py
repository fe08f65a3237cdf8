"""The experiments behind the claims of the README: what they conclude from figures, and that a kill costs nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.lock import held
from fractal_dsl.config import merge, parse_config
from fractal_dsl.language.source import Source
from fractal_dsl.pipeline import check
from tests.support.runs import SPEC, killed_at

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import replicate_small
from evidence.cifar_nets import NETS, PAPER, SMALL, archive, compiled, step_operations, training
from evidence.cifar_report import report
from evidence.goals import GOALS, Estimate, Goal
from evidence.trainings import Training, outcome


def figures(whole: float, *columns: float) -> dict[str, Any]:
    errors = {"whole net": whole} | {f"column {k}": e for k, e in enumerate(columns, 1)}
    return {"trained": errors, "re-estimated": errors}


def seed_of(**whole: float) -> dict[str, Any]:
    """The figures of a seed: errors by net, with columns a point worse each."""
    names = {name: name.replace(", ", "_").replace(" ", "_").replace("-", "_").replace("=", "_") for name in NETS}
    return {
        name: figures(error, *[] if net.layers else [error + 3, error + 2, error + 1][-net.columns :])
        for name, net in NETS.items()
        for error in [whole.get(names[name], 40.0)]
    }


def verdicts(*seeds: dict[str, Any]) -> dict[str, str]:
    return {f"{g.letter} {g.title.partition(':')[0]}": g.verdict(g.estimate(seeds, "trained")) for g in GOALS}


def test_an_estimate_is_the_mean_and_its_standard_error() -> None:
    estimate = Estimate((1.0, 2.0, 6.0))
    assert estimate.mean == 3 and estimate.error == pytest.approx(np.std([1, 2, 6], ddof=1) / 3**0.5)
    assert str(estimate) == "3.00 ± 1.53" and str(Estimate((2.0,))) == "2.00"


@pytest.mark.parametrize(
    ("values", "tolerant", "verdict"),
    [
        ((2.5, 2.6, 2.7), False, "met"),
        ((1.0, 1.1, 1.2), False, "refuted"),
        ((1.0, 2.0, 3.3), False, "met, by less than a standard error"),
        ((1.0, 2.0, 2.7), False, "refuted, by less than a standard error"),
        ((1.0, 2.0, 2.7), True, "met, by less than a standard error"),
        ((1.0,), True, "refuted"),
    ],
)
def test_a_goal_is_met_by_the_mean(values: tuple[float, ...], tolerant: bool, verdict: str) -> None:
    goal = Goal("x", "", lambda seed, kind: 0.0, 2.0, tolerant)
    assert goal.verdict(Estimate(values)) == verdict


def test_goals_compare_within_a_seed() -> None:
    """Seeds that differ by much more than nets do not hide a difference."""
    seeds = [
        seed_of(none=base + 1, dropout=base, columns_all_dropout=base - 2.5, drop_path_dropout=base - 1)
        for base in (30.0, 40.0, 50.0)
    ]
    made = verdicts(*seeds)
    assert made["a columns=all, dropout"] == "met" and made["a drop-path, dropout"] == "refuted"
    assert made["b columns=all, dropout"] == "met"


def test_the_nets_of_the_paper_are_fractalnet_20() -> None:
    for name in ("none", "columns=all, dropout"):
        summary = compiled(NETS[name], PAPER).summary
        assert (summary.params, summary.depth, len(summary.columns)) == (33_724_618, 20, 3)
    assert step_operations("none", PAPER) == 6 * 100 * compiled(NETS["none"], PAPER).summary.macs
    assert compiled(NETS["plain 12"], SMALL).summary.depth == 12 == compiled(NETS["none"], SMALL).summary.depth


def test_each_seed_draws_balanced_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (400, 4, 4, 3), dtype=np.uint8), np.arange(400) % 10
    arrays = {f"{a}_{part}": values for part in ("train", "val", "test") for a, values in (("x", x), ("y", y))}
    np.savez(tmp_path / "all.npz", **arrays)
    drawn = [np.load(archive(tmp_path / "all.npz", seed, 100, 30, tmp_path / "out")) for seed in (0, 1)]
    assert all(set(Counter(d["y_train"].tolist()).values()) == {10} for d in drawn)
    assert not np.array_equal(drawn[0]["x_train"], drawn[1]["x_train"])
    assert [len(drawn[0][f"x_{part}"]) for part in ("train", "val", "test")] == [100, 400, 30]
    again = archive(tmp_path / "all.npz", 0, 100, 30, tmp_path / "again")
    assert np.array_equal(np.load(again)["x_train"], drawn[0]["x_train"])


def test_curves_need_validation_images_that_are_not_trained_on(tmp_path: Path) -> None:
    settings = training("none", SMALL, 2, 0, {"name": "npz", "path": "x"}, tmp_path, "cpu").settings
    assert settings["validation"] > 0
    np.savez(tmp_path / "all.npz", x_train=np.zeros((20, 4, 4, 3), np.uint8), y_train=np.arange(20) % 10)
    with pytest.raises(UserError, match="has no x_val, y_val, x_test, y_test"):
        archive(tmp_path / "all.npz", 0, 10, None, tmp_path)


def test_replicate_small_makes_tables_of_what_trainings_give(tmp_path: Path) -> None:
    """Goal (c) compares a column of 48 layers with the best plain net of 48 layers."""
    options = Namespace(out=str(tmp_path), quick=False, device="cpu")
    seeds: list[dict[str, Any]] = []
    for seed in (0, 1):
        made: dict[str, Any] = {}
        for name, net in replicate_small.NETS.items():
            one = replicate_small.training_of(name, seed, options)
            spec = check(Source(one.name, one.text), dict(one.params))[-1]
            parse_config(merge(spec.program.train, list(one.settings.items())))
            columns = len(spec.summary.columns)
            both = figures(20.0 + seed if net.file == "plain" else 10.0, *range(1, columns + 1))
            answers = [{"answer": "whole net", "MMACs": 1.0, "error": 3.0}] if net.anytime else None
            made[name] = replicate_small.flat({**both, "anytime": answers})
        seeds.append(made)
    replicate_small.show(Console(quiet=True), replicate_small.tables(seeds))
    claims = {c.title: c.verdict(c.cell(seeds)) for c in replicate_small.CLAIMS}
    assert claims["3. (c) it is better as a column, mixed, re-estimated"] == "agrees"
    seeds[0]["plain 48"]["whole net, re-estimated"] = 1.0
    (claim,) = [c for c in replicate_small.CLAIMS if c.title == "3. (c) it is better as a column, columns=all"]
    assert claim.verdict(claim.cell(seeds)) == "on 1 of 2 seeds"


def test_a_killed_training_goes_on_to_the_same_figures(tmp_path: Path) -> None:
    settings = {"save_steps": 4, "epochs": 2, "validation": 0.25}
    whole, killed = (Training("t", SPEC, settings, 3, str(tmp_path / f), anytime=True) for f in ("whole", "killed"))
    expected = outcome(whole)
    with killed_at(9):
        outcome(killed)
    assert not (tmp_path / "killed" / "figures.json").exists()
    got = outcome(killed)
    assert {**got, "seconds": 0} == {**expected, "seconds": 0}
    assert outcome(killed) == got and len(got["curve"]) == 2
    assert [row["answer"] for row in got["anytime"]][:4] == ["column 1", "column 2", "column 3", "whole net"]
    work = [row["MMACs"] for row in got["anytime"][:4]]
    assert work == sorted(work) and len(set(work)) == 4


@pytest.mark.slow
def test_workers_end_with_their_killed_parent(tmp_path: Path) -> None:
    """An orphan would keep the run's lock, and the next call could not go on."""
    job = Training("t", SPEC, {"save_steps": 4, "epochs": 2000}, 3, str(tmp_path / "t"))
    (tmp_path / "job.py").write_text(
        f"import sys\nsys.path.insert(0, {str(Path(replicate_small.__file__).parent)!r})\n"
        "from evidence.trainings import Training, run_all\n"
        f"if __name__ == '__main__':\n    run_all([{job!r}], 1)\n"
    )
    parent = subprocess.Popen([sys.executable, str(tmp_path / "job.py")])
    checkpoints, lock = tmp_path / "t" / "run" / "checkpoints", tmp_path / "t" / "run" / ".lock"
    wait_for(lambda: checkpoints.is_dir() and any(checkpoints.iterdir()))
    parent.kill()
    parent.wait()

    def is_free() -> bool:
        with suppress(UserError), held(lock.parent):
            return True
        return False

    wait_for(is_free)


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.3)


def test_the_report_draws_columns_only_where_training_runs_them(tmp_path: Path) -> None:
    """Validation measures columns only if they are trained alone."""
    seeds = [seed_of(dropout=39.0), seed_of(dropout=40.0)]
    for seed in seeds:
        for name, net in NETS.items():
            point = {"step": 100, "whole net": 50.0} | ({"column 3": 60.0} if net.drop_path else {})
            answers = [{"MMACs": 1.0, "error": 45.0, "answer": "column 1"}]
            seed[name] |= {"steps": 200, "training error": 1.0, "curve": [point, {**point, "step": 200}]}
            seed[name]["anytime"] = answers if net.anytime else None
    report(seeds, tmp_path, quick=False)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 2 and "39.50 ± 0.50" in page
