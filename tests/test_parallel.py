"""Several processes train as one would: the same losses, and the same bits after a kill. Two of them, by gloo."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from io import StringIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import merge, parse_config
from fractal_dsl.data import load, net_ends
from fractal_dsl.pipeline import compile_text
from fractal_dsl.plans.stretches import stretches
from fractal_dsl.runtime import build
from fractal_dsl.runtime.world import ALONE, World, joined
from fractal_dsl.tasks.classification import Classification
from fractal_dsl.training import finish
from fractal_dsl.training.ema import local
from fractal_dsl.training.parallel import ParallelKind
from fractal_dsl.training.parallel.launch import make_stepper, processes, to_restart
from fractal_dsl.training.scaling import cost_of_step
from fractal_dsl.training.train import resume, train
from tests.support.runs import SPEC, ends_of

DROPPING = SPEC.replace("epochs     = 4", "epochs     = 2\n    clip       = 2")
NET = DROPPING.replace(">> dropout2d(20%) >>", ">>")
CPU = torch.device("cpu")
Overrides = tuple[tuple[str, Any], ...]


# --- two processes


class Failed(str):
    """What a process has to say that failed."""


def start(job: Callable[..., Any], *args: Any) -> list[Any]:
    """Two processes that do a job together, and what they tell when they are done."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.conftest", __name__])
    started: list[Any] = []
    for rank in range(2):
        ours, theirs = context.Pipe()
        process = context.Process(target=_process, args=(rank, port, theirs, job, args))
        process.start()
        theirs.close()
        started.append((process, ours))
    return started


def together(job: Callable[..., Any], *args: Any) -> list[Any]:
    """What each of two processes gets from a job."""
    results: list[Any] = []
    for process, pipe in start(job, *args):
        try:
            results.append(pipe.recv())
        except EOFError:
            results.append(Failed("it ended without a word"))
        process.join()
    for result in results:
        assert not isinstance(result, Failed), result
    return results


def _process(rank: int, port: int, pipe: Any, job: Callable[..., Any], args: tuple[Any, ...]) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    finish.write_report = lambda folder: folder
    try:
        pipe.send(job(*args))
    except BaseException:
        pipe.send(Failed(traceback.format_exc()))


# --- losses


def losses(parallel: ParallelKind | None, text: str, overrides: Overrides, world: World = ALONE) -> dict[str, Any]:
    """The losses of an epoch, what was right, the figures at the end, and the weights."""
    compiled = compile_text(text)
    config = parse_config(merge(compiled.program.train, overrides))
    p = compiled.program
    images = load(config, p.net, *net_ends(p), CPU)
    model = build(compiled, config.seed)
    stepper = make_stepper(parallel, model, Classification(4), config, CPU, world)
    stepper.train()
    steps: list[tuple[float, float]] = []
    with FlopCounterMode(display=False) if parallel in (None, "ddp") else nullcontext() as flops:
        for x, y in images.batches(images.train, stepper.order(len(images.train), 0), 0):
            loss, right = stepper.step(x, y, len(steps), 0.05)
            steps.append((float(loss), float(right)))
    weights = {name: value.numpy().copy() for name, value in stepper.weights().items()}
    sent = stepper.live.sent if parallel == "ddp" else 0  # type: ignore[attr-defined]
    return {
        "steps": steps,
        "weights": weights,
        "measured": stepper.measure(images, images.test),
        "sent": sent,
        "flops": flops.get_total_flops() if flops else None,
        "held": sum(4 * local(p).numel() for p in model.parameters()),
    }


def all_losses(cases: list[tuple[ParallelKind, str, Overrides]]) -> list[dict[str, Any]]:
    with joined(CPU) as world:
        return [losses(parallel, text, overrides, world) for parallel, text, overrides in cases]


CASES: dict[str, tuple[str, Overrides]] = {
    "sgd": (NET, ()),
    "groups, dropped weights that move": (
        NET,
        (("lr_scale", ["norm=0.5", "linear=2"]), ("optimizer", {"name": "sgd", "lr": 0.05, "move_dropped": True})),
    ),
    "adamw, in parts, shared weights": (
        NET.replace("net Tiny", "shared twice = conv(6)\nnet Tiny").replace(
            "F[3](6)", "F[2](6) >> twice >> twice >> F[2](6)"
        ),
        (("optimizer", "adamw"), ("accumulate", 2)),
    ),
    "distilled, in parts": (NET, (("distill.temperature", 3.0), ("accumulate", 2))),
    "all columns": (NET.replace("drop_path(local=15%, global=50%)", "drop_path(local=15%, columns=all)"), ()),
}
WAYS: tuple[ParallelKind, ...] = ("ddp", "fsdp", "pipeline")


SLOW = ("groups, dropped weights that move", "distilled, in parts")


@cache
def parallel_losses(case: str) -> dict[str, dict[str, Any]]:
    """What two processes get, each way."""
    first, second = together(all_losses, [(way, *CASES[case]) for way in WAYS])
    return {**dict(zip(WAYS, first, strict=True)), "pipeline, last stage": second[WAYS.index("pipeline")]}


@pytest.mark.parametrize("case", [pytest.param(c, marks=pytest.mark.slow if c in SLOW else ()) for c in CASES])
def test_losses_are_those_of_one_process(case: str) -> None:
    alone = losses(None, *CASES[case])
    for way in WAYS:
        found = parallel_losses(case)[way]
        assert np.abs(np.array(found["steps"]) - alone["steps"]).max() < 1e-5, way
        assert found["weights"].keys() == alone["weights"].keys()
        for name, value in alone["weights"].items():  # the running statistics of each route among them
            assert np.allclose(found["weights"][name], value, atol=1e-4), (way, name)
        assert found["measured"]["loss"] == pytest.approx(alone["measured"]["loss"], abs=1e-4)


def test_frozen_parts_stay_as_they_are_in_all_processes() -> None:
    text = NET.replace("F[3](6).each(maxpool2d(2))", '(F[3](6).each(maxpool2d(2)) @tag("body")) >> conv(6)')
    case: tuple[str, Overrides] = (text, (("freeze", ["body"]),))
    alone, (found, other) = losses(None, *case), [each[0] for each in together(all_losses, [("ddp", *case)])]
    assert np.abs(np.array(found["steps"]) - alone["steps"]).max() < 1e-5
    model = build(compile_text(text), 0)
    before = model.state_dict()
    for name, value in found["weights"].items():
        assert np.array_equal(value, other["weights"][name])
        assert np.allclose(value, alone["weights"][name], atol=1e-4), name
        assert np.array_equal(value, before[name]) or not name.startswith("block1."), name
    assert not np.array_equal(found["weights"]["linear.weight"], before["linear.weight"])


def test_layers_that_a_plan_skips_cost_no_communication() -> None:
    """DDP sends the gradients of live parameters, no more and no less."""
    compiled = compile_text(NET)
    model = build(compiled, 0)
    sent = 0
    for step in range(len(parallel_losses("sgd")["ddp"]["steps"])):
        model.zero_grad()
        model.run(torch.rand(2, 1, 8, 8), model.plan(0, step)).sum().backward()
        sent += sum(4 * p.numel() for p in model.parameters() if p.grad is not None)
    assert parallel_losses("sgd")["ddp"]["sent"] == sent


def test_the_scaling_model_is_what_one_and_two_processes_do() -> None:
    compiled = compile_text(NET)
    config = parse_config(compiled.program.train)
    alone, ddp, fsdp = losses(None, NET, ()), parallel_losses("sgd")["ddp"], parallel_losses("sgd")["fsdp"]
    steps = len(alone["steps"])
    one, two = (cost_of_step(compiled, config, "ddp", processes, steps) for processes in (1, 2))
    assert two.payload * steps == ddp["sent"]
    assert one.sent == 0
    for model, found in ((one, alone), (two, ddp)):  # the first convolution needs no gradient of its input
        assert 2 * model.macs * steps == pytest.approx(found["flops"], rel=0.05)
    copies = 4  # weights, gradients, momentum, average
    assert two.state == copies * ddp["held"]
    assert cost_of_step(compiled, config, "fsdp", 2, steps).state == pytest.approx(copies * fsdp["held"], rel=0.05)


def test_the_scaling_model_of_a_pipeline_is_what_its_stages_do() -> None:
    compiled = compile_text(NET)
    config = parse_config(compiled.program.train)
    ends = parallel_losses("sgd")["pipeline"], parallel_losses("sgd")["pipeline, last stage"]
    model = cost_of_step(compiled, config, "pipeline", 2, len(ends[0]["steps"]))
    assert model.state == 4 * max(stage["held"] for stage in ends)  # weights, gradients, momentum, average
    whole = cost_of_step(compiled, config, "pipeline", 1, len(ends[0]["steps"])).macs
    assert whole == cost_of_step(compiled, config, "ddp", 1, len(ends[0]["steps"])).macs
    assert whole / 2 <= model.macs < whole
    graph = compiled.graph
    cut = graph[stretches(graph, 2)[0].exit].out.shape
    assert model.sent == 4 * config.batch * prod(cut)  # the first stage sends values, the second their gradients
    assert model.idle == 1 / 2


# --- runs


def run(folder: Path, way: ParallelKind | None, overrides: Overrides = ()) -> str:
    """Train, or go on; what was said."""
    shown = Console(file=StringIO(), width=300)
    if list((folder / "checkpoints").glob("step-*")):
        resume(folder, console=shown, parallel=way)
    else:
        compiled = compile_text(DROPPING)
        train(compiled, parse_config(merge(compiled.program.train, overrides)), folder, console=shown, parallel=way)
    return shown.file.getvalue()  # type: ignore[attr-defined]


def killed(folder: Path, way: ParallelKind, step: int, rng: random.Random) -> None:
    """A run of which both processes are killed soon after a step is saved."""
    started = start(run, folder, way)
    saved = folder / "checkpoints" / f"step-{step:08}"
    while not saved.exists():
        assert all(process.is_alive() for process, _ in started), "it has ended"
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.05))
    for process, _ in rng.sample(started, 2):
        process.kill()
    for process, _ in started:
        process.join()


@pytest.mark.parametrize("way", ["ddp", *[pytest.param(way, marks=pytest.mark.slow) for way in ("fsdp", "pipeline")]])
def test_killed_and_resumed_ends_with_the_same_bits(way: ParallelKind, tmp_path: Path) -> None:
    together(run, tmp_path / "unbroken", way)
    killed(tmp_path / "run", way, 3 * random.Random(way).randrange(1, 6), random.Random())
    shutil.copytree(tmp_path / "run", tmp_path / "alone")
    together(run, tmp_path / "run", way)
    assert ends_of(tmp_path / "run") == ends_of(tmp_path / "unbroken")

    said = run(tmp_path / "alone", None)  # what two have written, one can read
    assert f"note: processes was 2 by {way} and is now 1" in said
    ends = ends_of(tmp_path / "alone")
    assert [line["step"] for line in ends["metrics"]] == [10, 20]
    assert ends["result"]["status"] == "finished"


PROGRAM = """
import sys
from fractal_dsl.training import finish
finish.write_report = lambda folder: folder
from fractal_dsl.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="it looks into /proc")
def test_the_processes_of_a_torchrun_that_is_killed_stop_and_save(tmp_path: Path) -> None:
    (tmp_path / "net.frac").write_text(DROPPING.replace("save_steps = 3", "save_steps = 1"))
    (tmp_path / "run.py").write_text(PROGRAM)
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    line += [str(tmp_path / "run.py"), "train"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}

    def launched(*words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*line, *words, "--parallel", "ddp"], env=environment, cwd=tmp_path)

    new = (str(tmp_path / "net.frac"), "--set", "epochs=200", "--out")
    folder = tmp_path / "run"
    with launched(*new, str(folder)) as agent:
        while not (folder / "checkpoints" / "step-00000003").exists():
            assert agent.poll() is None, "it has ended"
            time.sleep(0.01)
        tasks = Path(f"/proc/{agent.pid}/task").iterdir()
        workers = [pid for task in tasks for pid in (task / "children").read_text().split()]
        agent.kill()
    assert len(workers) == 2
    deadline = time.monotonic() + 120
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "they outlive torchrun"
        time.sleep(0.05)
    result = json.loads((folder / "result.json").read_text())
    assert result["ended"] == "interrupted" and result["epochs"] < 200


def orphaned(folder: Path, way: ParallelKind) -> str:
    """A run in which the second process finds that torchrun has gone."""
    if os.environ["RANK"] == "1":
        calls, parent = iter(range(1000)), os.getppid()
        os.getppid = lambda: parent if next(calls) < 7 else 1
    return run(folder, way)


@pytest.mark.slow
def test_processes_without_torchrun_stop_together_and_go_on_with_the_same_bits(tmp_path: Path) -> None:
    together(run, tmp_path / "unbroken", "ddp")
    said, _ = together(orphaned, tmp_path / "run", "ddp")
    assert "stopped by " in said and "To resume: torchrun" in said
    assert json.loads((tmp_path / "run" / "result.json").read_text())["ended"] == "interrupted"
    together(run, tmp_path / "run", "ddp")
    assert ends_of(tmp_path / "run") == ends_of(tmp_path / "unbroken")


# --- what is said


def test_what_cannot_be_shared_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="for processes that torchrun starts"), processes("ddp", CPU):
        pass
    with pytest.raises(UserError, match="into 3 parts at the edges of its blocks, but there are 4 processes"):
        stretches(compile_text(NET).graph, 4)
    config = parse_config({"batch": 12, "accumulate": 4})
    with pytest.raises(
        UserError, match="cannot share mini-batches of 12 evenly, in 4 parts: make `batch` a multiple of 8"
    ):
        make_stepper("ddp", build(compile_text(NET)), Classification(4), config, CPU, World(0, 2))
    with pytest.raises(UserError, match="`track_columns` needs the whole net in each process"):
        make_stepper(
            "fsdp", build(compile_text(NET)), Classification(4), parse_config({"track_columns": True}), CPU, World(0, 2)
        )
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="torchrun started 2 processes: add --parallel"), processes(None, CPU):
        pass
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    with pytest.raises(UserError, match="--max-restarts needs --out FOLDER"):
        to_restart(None)
    assert not to_restart(tmp_path)
