"""What settings do to a step: precision, parts, clipping, averages, mixing; and what runs report of themselves."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import time
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch.nn import functional as F
from typer.testing import CliRunner

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.texts import duration, memory_text
from fractal_dsl.cli.app import app
from fractal_dsl.compiled import Compiled
from fractal_dsl.config import AdamW, Sgd, TrainConfig, merge, parse_config
from fractal_dsl.evaluation.introspect import Tracker
from fractal_dsl.evaluation.run import Run, RunResult
from fractal_dsl.pipeline import compile_text
from fractal_dsl.program.literals import literal
from fractal_dsl.runtime import FractalModule, build
from fractal_dsl.tasks.classification import Classification
from fractal_dsl.training.ema import Average
from fractal_dsl.training.mixing import loss_of, mix, running_of
from fractal_dsl.training.optimizers import make_optimizer
from fractal_dsl.training.step import Stepper
from fractal_dsl.training.train import train

CPU = torch.device("cpu")
SPEC = """
layer conv(out: int) = conv2d(out, 3, padding=1) >> NORM relu
rule F(out: int) join mean {
    F[1]   = conv(out)
    F[n+1] = F[n] >> F[n] | conv(out)
}
net Tiny(image: f32[1, 8, 8]) -> f32[4] with drop_path(local=15%, global=50%), init("xavier")
    = F[2](4).each(maxpool2d(2)) >> flatten >> linear(4)
train {
    dataset   = synthetic(size=120, noise=0.1)
    epochs    = 2
    optimizer = sgd(lr=0.05)
}
"""


def tiny(norm: str = "batchnorm2d >>") -> Compiled:
    return compile_text(SPEC.replace("NORM", norm))


def run(folder: Path, *overrides: tuple[str, Any], shown: Console | None = None) -> RunResult:
    spec = tiny()
    config = parse_config(merge(spec.program.train, overrides))
    return train(spec, config, folder, console=shown or Console(file=StringIO()))


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports are not looked at, and take long to draw."""
    monkeypatch.setattr("fractal_dsl.training.finish.write_report", lambda folder: None)


def some(config: TrainConfig, norm: str = "", batch: int = 12) -> tuple[Stepper, FractalModule, Any, Any]:
    model = build(tiny(norm), 0)
    torch.manual_seed(0)
    return (
        Stepper(model, Classification(4, config.label_smoothing), config, CPU),
        model,
        torch.randn(batch, 1, 8, 8),
        torch.arange(batch) % 4,
    )


# --- the step


def test_a_step_is_the_gradient_of_the_plans_loss() -> None:
    config = parse_config({"optimizer": {"lr": 0.1, "momentum": 0}, "label_smoothing": 0.1})
    stepper, model, x, y = some(config)
    reference = build(tiny(""), 0).train()
    stepper.step(x, y, 5, 0.1)
    F.cross_entropy(reference.run(x, reference.plan(0, 5)), y, label_smoothing=0.1).backward()
    for ours, other in zip(model.parameters(), reference.parameters(), strict=True):
        expected = other if other.grad is None else other - 0.1 * other.grad
        assert torch.allclose(ours, expected, atol=1e-7)


@pytest.mark.parametrize("parts", [2, 5, 12])
def test_parts_of_a_mini_batch_add_up_to_it(parts: int) -> None:
    settings = {"batch": 12, "cutmix": 1.0, "clip": 0.01}
    whole, whole_model, x, y = some(parse_config(settings))
    split, split_model, _, _ = some(parse_config({**settings, "accumulate": parts}))
    for number in range(4):
        loss, right = whole.step(x, y, number, 0.1)
        same_loss, same_right = split.step(x, y, number, 0.1)
        assert torch.allclose(loss, same_loss) and torch.allclose(right, same_right.to(right))
    for a, b in zip(whole_model.parameters(), split_model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_clipping_bounds_the_step() -> None:
    stepper, model, x, y = some(parse_config({"clip": 1e-3, "optimizer": {"momentum": 0}}))
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    stepper.step(x, y, 0, 1.0)
    moved = torch.cat([p.detach().flatten() for p in model.parameters()]) - before
    assert moved.norm() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_is_near(precision: str) -> None:
    exact, _, x, y = some(parse_config({}), "batchnorm2d >>")
    lower, model, _, _ = some(parse_config({"precision": precision, "clip": 5.0}), "batchnorm2d >>")
    seen: set[torch.dtype] = set()
    model.get_submodule("linear").register_forward_hook(lambda m, i, o: seen.add(o.dtype))
    loss, _ = exact.step(x, y, 0, 0.02)
    near, _ = lower.step(x, y, 0, 0.02)
    assert near.dtype == torch.float32
    assert near == pytest.approx(loss.item(), rel=0.02)
    for number in range(1, 60):  # fp16 skips steps until it has found a scale
        last, _ = lower.step(x, y, number, 0.02)
    assert last < near / 2
    assert seen == {torch.bfloat16 if precision == "bf16" else torch.float16}
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_channels_last_reach_the_layers() -> None:
    stepper, model, x, y = some(parse_config({"channels_last": True}))
    seen: list[bool] = []
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    x = x.expand(-1, 3, -1, -1) if layers[0].in_channels == 3 else x
    layers[-1].register_forward_hook(lambda m, i, o: seen.append(o.is_contiguous(memory_format=torch.channels_last)))
    for number in range(4):
        stepper.step(x, y, number, 0.1)
    assert seen and all(seen)


@pytest.mark.parametrize("config", [Sgd(momentum=0.9, weight_decay=0.01), Sgd(momentum=0.9, nesterov=True), AdamW()])
def test_optimizers_are_torchs_also_where_gradients_come_late(config: Sgd | AdamW) -> None:
    """Drop-path leaves layers out: fused SGD would stumble over a first gradient after others' (torch 2.13)."""
    torch.manual_seed(0)
    ours, plain = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    plain.load_state_dict(ours.state_dict())
    options = config.model_dump(exclude={"name", "move_dropped", "beta1", "beta2"})
    kind = torch.optim.AdamW if isinstance(config, AdamW) else torch.optim.SGD
    optimizer, reference = make_optimizer(ours, config), kind(plain.parameters(), foreach=False, **options)
    for number in range(6):
        for parameters in (ours, plain):
            generator = torch.Generator().manual_seed(number)
            for i, p in enumerate(parameters.parameters()):
                drawn = torch.randn(p.shape, generator=generator)
                p.grad = drawn if number % 3 == 2 or i == number % 2 else None
        optimizer.step()
        reference.step()
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_the_average_follows_and_is_put_on_for_a_while() -> None:
    model = torch.nn.BatchNorm1d(1)
    average = Average(model, 0.9)
    for number in range(200):
        with torch.no_grad():
            model.weight.fill_(number % 2)
        average.update(number + 1)
    assert average.tensors["weight"].item() == pytest.approx(0.5, abs=0.05)
    with average.applied():
        assert model.weight.item() == pytest.approx(0.5, abs=0.05)
    assert model.weight.item() == 1


# --- mixing


def test_mixing() -> None:
    x = torch.arange(8.0)[:, None, None, None].expand(8, 2, 10, 10)
    y = torch.arange(8)
    assert mix(x, y, TrainConfig(), 0)[0] is x
    kinds: Counter[str] = Counter()
    for step in range(60):
        mixed, ((_, kept), (other, rest)) = mix(x, y, TrainConfig(mixup=0.4, cutmix=1.0), step)
        assert kept + rest == pytest.approx(1)
        assert torch.equal(other, y.roll(1))
        assert torch.allclose(mixed.mean((1, 2, 3)), kept * x[:, 0, 0, 0] + rest * x.roll(1, 0)[:, 0, 0, 0])
        kinds["boxes" if set(mixed[3].unique().tolist()) <= {2.0, 3.0} else "sums"] += 1
        again, _ = mix(x, y, TrainConfig(mixup=0.4, cutmix=1.0), step)
        assert torch.equal(mixed, again)
    assert min(kinds["boxes"], kinds["sums"]) > 15


def test_losses_of_mixed_labels() -> None:
    logits, y = torch.randn(6, 4), torch.arange(6) % 4
    soft = 0.3 * F.one_hot(y, 4) + 0.7 * F.one_hot(y.roll(1), 4)
    task = Classification(4, 0.1)
    found = loss_of(task, logits, [(y, 0.3), (y.roll(1), 0.7)])
    assert found == pytest.approx(F.cross_entropy(logits, soft, label_smoothing=0.1).item(), rel=1e-5)
    assert running_of(task, F.one_hot(y, 4).float(), [(y, 0.3), (y.roll(1), 0.7)]) == pytest.approx(1.8)


def test_what_cannot_be_mixed() -> None:
    spec = compile_text("net N(x: f32[3]) -> f32[2] = linear(2)")
    with pytest.raises(UserError, match="no height and width"):
        train(spec, parse_config({"dataset": "synthetic", "cutmix": 1.0}))


# --- the run


@pytest.mark.usefixtures("undrawn")
def test_early_stopping(tmp_path: Path) -> None:
    shown = Console(file=StringIO(), width=300)
    result = run(tmp_path / "run", ("epochs", 90), ("patience", 2), ("optimizer.lr", 1e-9), shown=shown)
    assert (result.status, result.ended) == ("finished", "patience")
    assert result.epochs == result.best_epoch + 2 < 90
    assert "stopped early: no better validation figures for 2 epochs" in shown.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("undrawn")
def test_the_average_is_what_is_kept(tmp_path: Path) -> None:
    run(tmp_path / "plain")
    run(tmp_path / "ema", ("ema", 0.99))
    one, other = (Run.open(tmp_path / name).load("last").state_dict() for name in ("plain", "ema"))
    assert any(not torch.equal(one[key], other[key]) for key in one)
    assert [line["train_loss"] for line in metrics(tmp_path / "plain")] == [
        line["train_loss"] for line in metrics(tmp_path / "ema")
    ]


@pytest.mark.usefixtures("undrawn")
def test_a_profile(tmp_path: Path) -> None:
    shown = Console(file=StringIO(), width=300)
    run(tmp_path / "run", ("profile", True), ("epochs", 8), shown=shown)
    trace = json.loads((tmp_path / "run" / "trace.json").read_text())
    names = {event.get("name") for event in trace["traceEvents"]}
    assert "aten::conv2d" in names
    assert "aten::" in (tmp_path / "run" / "profile.txt").read_text()
    assert "Self CPU" in shown.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("undrawn")
def test_weights_and_biases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run(tmp_path / "run", ("wandb", "digits"), ("track_columns", True))
    (logged,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    identity = (tmp_path / "run" / "tracked.wandb").read_text().strip()
    assert identity in logged.name
    deadline = time.monotonic() + 20  # another process writes the file
    while b"validation/column2/loss" not in (data := logged.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert b"validation/column2/loss" in data and b"optimizer.lr" in data
    Run.open(tmp_path / "run")
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr("wandb.login", lambda prompt: False)
    with pytest.raises(UserError, match="run `wandb login`, or set WANDB_MODE=offline"):
        run(tmp_path / "anonymous", ("wandb", "digits"))
    monkeypatch.setattr("fractal_dsl.training.trackers.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'fractal_dsl\[wandb\]'"):
        run(tmp_path / "missing", ("wandb", "digits"))


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    run(tmp_path / "run", ("mlflow", "digits"))
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.run_name == "run" and tracked.info.status == "FINISHED"
    assert tracked.data.params["epochs"] == "2" and tracked.data.params["net"]
    history = client.get_metric_history(tracked.info.run_id, "validation/loss")
    lines = metrics(tmp_path / "run")
    assert [(m.step, m.value) for m in history] == [(e["epoch"], e["validation"]["loss"]) for e in lines]
    monkeypatch.setattr("fractal_dsl.training.trackers.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'fractal_dsl\[mlflow\]'"):
        run(tmp_path / "missing", ("mlflow", "digits"))


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("broken", ["__init__", "log", "close"])
def test_a_sink_that_fails_never_stops_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    def fails(*_: object) -> None:
        raise OSError("no space left")

    whole = {"__init__": lambda *_: None, "log": lambda *_: None, "close": lambda *_: None}
    made = type("Broken", (), {**whole, broken: fails})
    monkeypatch.setattr("fractal_dsl.training.sinks.MlflowRun", made)
    monkeypatch.setattr("fractal_dsl.training.sinks.require_mlflow", lambda: None)
    shown = Console(file=StringIO(), width=300)
    run(tmp_path / "run", ("mlflow", "digits"), shown=shown)
    text = shown.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("note: MLflow gets no more figures: no space left") == 1
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "finished"


@pytest.mark.usefixtures("undrawn")
def test_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    if find("tensorboard") is not None:
        run(tmp_path / "run", ("tensorboard", True), ("track_columns", True))
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
        found.Reload()
        scalars = found.Scalars("validation/column2/loss")
        assert [s.step for s in scalars] == [1, 2]
        lines = metrics(tmp_path / "run")
        assert scalars[1].value == pytest.approx(lines[1]["validation"]["columns"][1]["loss"], rel=1e-5)
        Run.open(tmp_path / "run")
    monkeypatch.setattr(
        "fractal_dsl.training.tensorboard.find_spec", lambda name: None if name == "tensorboard" else find(name)
    )
    with pytest.raises(UserError, match=r"pip install 'fractal_dsl\[tensorboard\]'"):
        run(tmp_path / "missing", ("tensorboard", True))
    assert not (tmp_path / "missing").exists()


def test_what_is_tracked(tmp_path: Path) -> None:
    model = build(tiny("batchnorm2d >>"), 0)
    images = tracked_images(model)
    tracker = Tracker(model, images, 0, 16)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    found = tracker.measure()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    x, y = images.batch(images.train, tracker.rows)
    model.eval()
    losses = [F.cross_entropy(model.run(x, model.column_plan(k)), y).item() for k in (1, 2)]
    assert [c["loss"] for c in found["columns"]] == pytest.approx(losses, rel=1e-5)
    loss = F.cross_entropy(model.run(x, model.full_plan()), y)
    assert found["loss"] == pytest.approx(loss.item(), rel=1e-5)
    loss.backward()
    norms: dict[int, list[float]] = {}
    for name, depth in tracker.depths.items():
        own = [p.grad.flatten() for p in model.get_submodule(name).parameters() if p.grad is not None]
        norms.setdefault(depth, []).append(torch.cat(own).norm().item())
        assert tracker.norms[name] == pytest.approx(norms[depth][-1], rel=1e-4)
    assert sorted(norms) == [1, 2, 3]
    assert [len(norms[d]) for d in (1, 2, 3)] == [2, 1, 1]
    assert found["gradients"] == pytest.approx([sum(norms[d]) / len(norms[d]) for d in (1, 2, 3)], rel=1e-4)


def tracked_images(model: FractalModule) -> Any:
    from fractal_dsl.data import load

    return load(parse_config(tiny().program.train), "Tiny", model.inputs, model.outputs, CPU)


# --- reports of several runs


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    home = tmp_path_factory.mktemp("two")
    run(home / "sgd")
    run(home / "adamw", ("optimizer", "adamw"), ("track_columns", True), ("plain", 2))
    return [str(home / "sgd"), str(home / "adamw")]


def command(*words: str) -> Any:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "120"})


def test_compare(two: list[str]) -> None:
    shown = command("compare", *two).output
    assert re.search(r"test accuracy +[\d.]+% +[\d.]+%\n", shown)
    assert re.search(r"optimizer.name +sgd +adamw\n", shown)
    assert re.search(r"plain +2\n", shown)
    assert "dataset.size" not in shown
    found = json.loads(command("compare", *two, "--json").output)
    assert found["runs"] == ["sgd", "adamw"]
    assert found["settings"]["optimizer.name"] == ["sgd", "adamw"]
    with pytest.raises(UserError, match="two runs"):
        CliRunner().invoke(app, ["compare", two[0]], catch_exceptions=False)


def test_one_page_of_two_runs(two: list[str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert command("report", *two, "-o", str(page)).exit_code == 0
    text = page.read_text()
    assert text.count("<svg") == 1 + 4 + 5
    assert "optimizer.name" in text
    outside = re.findall(r'(?:src|href)="([^#"][^"]*)"|url\((?!#)([^)]*)\)|@import', text)
    assert not outside
    ids = re.findall(r' id="([^"]+)"', text)
    drawn = [i for i in ids if i.startswith(("curves", "columns", "losses", "paths"))]
    assert len(drawn) == len(set(drawn))


def test_the_report_of_a_run_is_made_again(two: list[str]) -> None:
    page = Path(two[1]) / "report.html"
    before = page.read_text()
    page.unlink()
    assert command("report", two[1]).output == f"{page}\n"
    assert page.read_text() == before
    assert "column 2&#x27;s layers, trained alone" in before
    Run.open(two[1])
    assert "trained alone" in (Path(two[1]) / "losses.svg").read_text()


def test_a_report_of_an_unfinished_run(two: list[str], tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(two[0], tmp_path / "run"))
    (folder / "result.json").unlink()
    assert command("report", str(folder)).exit_code == 0
    assert "no weights are chosen yet" in (folder / "report.html").read_text()


# --- the command line


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train"], "give a .frac file, a compiled folder, or --resume RUN"),
        (["train", "x.frac", "--resume", "runs/a"], "keeps its spec and its settings"),
        (["train", "--resume", "runs/a", "--set", "ema=0.9"], "keeps its spec and its settings"),
    ],
)
def test_wrong_usage(words: list[str], expected: str) -> None:
    done = command(*words)
    assert done.exit_code == 2
    assert expected in " ".join(done.output.replace("│", " ").split())


def test_flags_are_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[TrainConfig] = []

    class Done:
        status = "finished"

    def note(compiled: Compiled, config: TrainConfig, *_: object, **__: object) -> Done:
        seen.append(config)
        return Done()

    monkeypatch.setattr("fractal_dsl.training.train.train", note)
    file = tmp_path / "net.frac"
    file.write_text(SPEC.replace("NORM", ""))
    flags = "--precision bf16 --channels-last --compile --accumulate 2 --max-minutes 1.5 --track-columns --plain 2"
    flags += " --lr 0.3 --batch 8 --seed 3 --epochs 5 --checkpoint-levels 1 --profile --tensorboard --dataset digits"
    assert command("train", str(file), *flags.split(), "--set", "clip=1.5").exit_code == 0
    (config,) = seen
    assert (config.precision, config.channels_last, config.compile, config.accumulate) == ("bf16", True, True, 2)
    assert (config.max_minutes, config.track_columns, config.plain, config.clip) == (1.5, True, 2, 1.5)
    assert (config.batch, config.seed, config.epochs, config.checkpoint_levels) == (8, 3, 5, 1)
    assert config.profile and config.tensorboard and config.optimizer.lr == 0.3
    assert config.dataset is not None and config.dataset.name == "digits"


def test_flags_take_type_range_and_help_from_the_schema() -> None:
    from fractal_dsl.cli.train import train

    field = TrainConfig.model_fields["checkpoint_levels"]
    shown = " ".join(CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "250"}).output.split())
    assert "--checkpoint-levels" in shown and str(field.description)[1:] in shown and "<auto|fp32|bf16|fp16>" in shown
    assert command("train", "x.frac", "--epochs", "0").exit_code == 2
    options = {name: parameter.annotation for name, parameter in inspect.signature(train).parameters.items()}
    assert options["lr"].__args__[0] == float | None and options["channels_last"].__args__[0] == bool | None


def test_texts_for_people() -> None:
    assert [duration(s) for s in (5, 125, 3725)] == ["0:05", "2:05", "1:02:05"]
    assert [memory_text(n) for n in (25_000_000, 2_500_000_000)] == ["25 MB", "2.5 GB"]


def test_settings_on_the_command_line_are_written_as_in_the_train_block() -> None:
    assert literal("step(at=[2, 4])", "schedule") == {"name": "step", "at": [2, 4]}
    assert literal("none", "clip") is None
    assert (literal("cifar10", "dataset"), literal("15%", "p"), literal("[1, 2]", "at")) == ("cifar10", 0.15, [1, 2])
    config = parse_config(merge({"clip": 1.0, "dataset": "cifar10"}, [("clip", None), ("dataset.download", True)]))
    assert config.clip is None
    assert config.dataset is not None and config.dataset.model_dump()["download"]


@pytest.mark.parametrize("command", ["train", "sweep"])
@pytest.mark.parametrize(
    ("option", "hint"), [("--patience", "--set patience=…"), ("--weight-decay", "--set optimizer.weight_decay=…")]
)
def test_a_setting_that_is_no_option_is_told_as_a_setting(command: str, option: str, hint: str) -> None:
    told = CliRunner().invoke(app, [command, "x.frac", option, "1"])
    assert told.exit_code == 2
    assert hint in " ".join(told.output.replace("│", "").split())
