"""Branches with ``@drop`` in the language, in figures, pictures and ``model.py``, and how such nets train."""

from __future__ import annotations

import json
import re
from collections import Counter
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from rich.console import Console
from scipy.stats import chisquare
from torch import Tensor, nn
from typer.testing import CliRunner

from fractal_dsl.cli.app import app
from fractal_dsl.config import parse_config
from fractal_dsl.graph.path_lengths import expected_path_lengths
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.picture.graph_to_dot import Look, Opening, graph_to_dot, rule_to_dot
from fractal_dsl.pipeline import Stage, compile_text
from fractal_dsl.plans.plan import FULL, Plan, plan_of_text
from fractal_dsl.plans.plan_on_graph import cost, live_reads, needed
from fractal_dsl.plans.space import PlanSpace
from fractal_dsl.runtime import build
from fractal_dsl.runtime.artifact import model_source
from fractal_dsl.runtime.fit import tensors_of
from fractal_dsl.training.step import Stepper
from fractal_dsl.training.train import resume, train
from tests.support.runs import ends_of
from tests.test_stochastic_depth import JOINS, MIXED, RESIDUAL, probabilities

# --- figures


def test_info_counts_branches_and_the_expected_work(tmp_path: Path) -> None:
    compiled = compile_text(RESIDUAL)
    s = compiled.summary
    assert s.drops is not None
    assert (s.drops.branches, s.drops.lowest, s.drops.highest) == (4, 0.125, 0.5)
    each = 36 * 4 * 4 * 9 * 2
    expected = s.macs - sum(p * each for p in (0.125, 0.25, 0.375, 0.5))
    assert s.training_macs == pytest.approx(expected)
    graph, space = compiled.graph, PlanSpace.of(compiled.graph)
    mean = sum(cost(graph, needed(graph, space.drawn(1, step))).macs for step in range(2000)) / 2000
    assert mean == pytest.approx(expected, rel=0.02)
    path = tmp_path / "n.frac"
    path.write_text(RESIDUAL, "utf-8")
    shown = CliRunner().invoke(app, ["info", str(path)]).stdout
    assert "branches dropped  4, with 12.5% to 50% (@drop)" in shown
    facts = json.loads(CliRunner().invoke(app, ["info", str(path), "--json"]).stdout)
    assert facts["drops"] == {"branches": 4, "lowest": 0.125, "highest": 0.5}
    assert facts["training_macs"] == pytest.approx(expected)
    assert {"drops", "training_macs"}.isdisjoint(compile_text(RESIDUAL.replace(" @drop(p)", "")).summary.json())


def test_nested_branches_run_as_often_as_both_do() -> None:
    s = compile_text("net N(x: f32[2]) -> f32[2] = sum(id, sum(linear(2), linear(2) @drop(50%)) @drop(20%))").summary
    assert s.training_macs == pytest.approx(0.8 * (4 + 0.5 * 4)) and s.drops and s.drops.branches == 2


def test_paths_are_expected_as_often_as_their_branches_run() -> None:
    graph = compile_text(RESIDUAL.replace("seq(block(4, (i + 1) / 4 * top) for i in range(4))", "block(4, 25%)")).graph
    assert {k: float(v) for k, v in expected_path_lengths(graph).items()} == {2: 1.0, 4: 0.75}
    graph = compile_text(MIXED).graph
    space = PlanSpace.of(graph)
    exact = sum(float(v) for v in expected_path_lengths(graph).values())

    def paths(plan: Plan) -> int:
        reads, count = live_reads(graph, plan), dict[int, int]()
        for number in graph.g.nodes:
            operands = reads.get(number, graph.operands(number))
            count[number] = sum(count[o] for o in operands) if graph.operands(number) else 1
        return count[graph.output[0]]

    drawn = [paths(space.drawn(2, step)) for step in range(8000)]
    assert sum(drawn) / len(drawn) == pytest.approx(exact, rel=0.1)


# --- mistakes


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("sum(id, linear(3) >> relu @drop(10%))", "E0409", "binds tighter"),
        ("linear(3) @drop(10%)", "E0409", "where the join is"),
        ("(linear(3) @drop(10%)) ** 2", "E0409", "where the join is"),
        ("seq(linear(3) @drop(10%))", "E0409", "where the join is"),
        ("sum(id, linear(3) @drop(10))", "E0302", "did you mean `10%`"),
        ("sum(id, linear(3) @drop(100%))", "E0302", "below 100%"),
        ("sum(id, linear(3) @drop(1.0))", "E0302", "below 100%"),
        ("sum(id, linear(3) @drop(0 - 0.1))", "E0302", "between 0 and 1"),
        ("sum(id, linear(3) @drop)", "E0205", "@drop(10%)"),
        ('sum(id, linear(3) @drop("x"))', "E0301", "must be prob"),
        ("sum(id, linear(3) @drop(10%, 20%))", "E0206", "one too many"),
        ("sum(id, linear(3) @drop(10%) @drop(20%))", "E0204", "one `@drop`"),
        ('max(id, linear(3) @drop(10%, by="example"))', "E0302", "join with sum, mean, concat"),
        ('sum(id, linear(3) @drop(10%, by="row"))', "E0302", 'must be "batch" or "example"'),
        ("sum(id, linear(3) @drops(10%))", "E0201", "did you mean `drop`"),
        ("sum(id, DropPath(10%))", "E0201", "@drop(10%)"),
    ],
)
def test_mistakes_are_explained(body: str, code: str, words: str) -> None:
    with pytest.raises(FracError) as error:
        compile_text(f"net N(x: f32[3]) -> f32[3] = {body}")
    (found,) = error.value.diagnostics
    assert found.code == code and words in found.text()
    assert found.span.start < found.span.end


def test_a_column_and_a_shared_block_are_no_branches() -> None:
    for text in (
        "rule F join mean { F[1] = linear(3) | linear(3) @drop(10%) }\nnet N(x: f32[3]) -> f32[3] = F[1]",
        "shared s = linear(3) @drop(10%)\nnet N(x: f32[3]) -> f32[3] = sum(id, s)",
        "layer a = linear(3) @drop(10%)\nnet N(x: f32[3]) -> f32[3] = sum(id, a)",
        "layer a(b: block) = sum(id, b)\nnet N(x: f32[3]) -> f32[3] = a(linear(3) @drop(10%))",
    ):
        with pytest.raises(FracError) as error:
            compile_text(text)
        assert [d.code for d in error.value.diagnostics] == ["E0409"]


def test_whole_numbers_cannot_make_up_for_a_branch() -> None:
    with pytest.raises(FracError) as error:
        compile_text("net N(x: i64[4]) -> f32[4, 2] = max(id, id @drop(10%)) >> embedding(9, 2)")
    assert [d.code for d in error.value.diagnostics] == ["E0501"]


def test_the_only_branch_of_a_join_always_stays() -> None:
    compiled = compile_text("net N(x: f32[3]) -> f32[3] = sum(linear(3) @drop(10%))")
    assert [d.code for d in compiled.warnings] == ["W0701"] and not compiled.graph.dropping()


@pytest.mark.parametrize(
    "text",
    [
        "let b = linear(3) @drop(10%)\nnet N(x: f32[3]) -> f32[3] = sum(id, b)",
        "net N(x: f32[3]) -> f32[3] = sum([id, linear(3) @drop(10%)])",
        "net N(x: f32[3]) -> f32[3] = sum(id, [linear(3) @drop(i / 10) for i in range(1, 2)])",
        'net N(x: f32[3]) -> f32[3] = sum(id, linear(3) @drop(10%) @tag("t") @checkpoint)',
        'net N(x: f32[3]) -> f32[3] = sum(id, linear(3) @tag("t") @drop(p=10%, by="batch"))',
        "join j = sum >> relu\nnet N(x: f32[3]) -> f32[3] = j(id, linear(3) @drop(10%))",
        "layer a(p: prob) = sum(id, linear(3) @drop(p))\nnet N(x: f32[3]) -> f32[3] = a(0.1)",
        "rule R { R[0] = linear(3)  R[n+1] = sum(R[n], linear(3) @drop((n + 1) / 10)) }\n"
        "net N(x: f32[3]) -> f32[3] = R[1]",
        "net N(x: f32[3]) -> f32[3] = sum(id @drop(0%), linear(3) @drop(10%))",
    ],
)
def test_ways_to_write_a_branch(text: str) -> None:
    ((_, join),) = compile_text(text).graph.dropping()
    assert join.drops == (0.0, 0.1)


# --- by example


@pytest.mark.parametrize("join", ["sum", "mean", "concat"])
def test_branches_by_example_are_zeros_for_some_examples(join: str) -> None:
    text = f'net N(x: f32[3]) -> f32[{6 if join == "concat" else 3}] = {join}(id, linear(3) @drop(30%, by="example"))'
    compiled = compile_text(text)
    model = build(compiled, seed=1).double()
    assert not model.draws and not compiled.graph.dropping()
    plain = module_of(model_source(compiled, compiled.graph)).N().double()
    plain.load_state_dict(tensors_of(model))
    x = torch.randn(20_000, 3, dtype=torch.float64)
    with torch.no_grad():
        branch = model.get_submodule("linear")(x)
        whole = {"sum": x + branch, "mean": (x + branch) / 2, "concat": torch.cat([x, branch], 1)}[join]
        torch.manual_seed(3)
        y = model.train()(x)
        torch.manual_seed(3)
        assert torch.equal(plain.train()(x), y)
        assert torch.equal(plain.eval()(x), model.eval()(x)) and torch.equal(model(x), whole)
    part = y[:, 3:] if join == "concat" else y * (2 if join == "mean" else 1) - x
    left_out = (part.abs() < 1e-12).all(1)
    assert abs(float(left_out.double().mean()) - 0.3) < 0.02
    torch.testing.assert_close(part[~left_out], branch[~left_out] / 0.7)


def test_whole_numbers_and_single_branches_by_example() -> None:
    with pytest.raises(FracError) as error:
        compile_text('net N(x: i64[4]) -> f32[4, 2] = sum(id, id @drop(10%, by="example")) >> embedding(9, 2)')
    assert [d.code for d in error.value.diagnostics] == ["E0501"]
    alone = compile_text('net N(x: f32[3]) -> f32[3] = sum(linear(3) @drop(10%, by="example"))')
    assert [d.code for d in alone.warnings] == ["W0701"] and "drop" not in alone.graph.dump()
    drawn = compile_text('net N(x: f32[3]) -> f32[3] = sum(id, linear(3) @drop(10%, by="example"))')
    assert 'label="drop 10% by example"' in graph_to_dot(drawn.graph)


# --- model.py


def module_of(source: str) -> Any:
    module = ModuleType("model")
    exec(compile(source, "model.py", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("join", JOINS)
def test_model_py_gives_the_expectation_of_its_draws(join: str) -> None:
    compiled = compile_text(
        f"net N(x: f32[3]) -> f32[{9 if join == 'concat' else 3}] = "
        f"{join}(linear(3), linear(3) @drop(0.3), (tanh >> linear(3)) @drop(0.6))"
    )
    model = build(compiled, seed=1).double()
    module = module_of(model_source(compiled, model.join_graph))
    plain = module.N().double()
    plain.load_state_dict(tensors_of(model))
    x = torch.randn(2, 3, dtype=torch.float64)
    assert torch.equal(plain.eval()(x), model.eval()(x))
    chances = {live: p for live, p in probabilities([0.0, 0.3, 0.6]).items() if p}
    expected = {live: model.run(x, Plan(FULL, (), (live,))) for live in chances}
    torch.manual_seed(0)
    seen = Counter[tuple[bool, ...]]()
    plain.train()
    for _ in range(400):
        y = plain(x)
        live = next(live for live, value in expected.items() if torch.allclose(value, y))
        seen[live] += 1
    assert seen.keys() == chances.keys()
    assert chisquare([seen[k] for k in chances], [400 * p for p in chances.values()]).pvalue > 0.001


def test_model_py_skips_what_it_leaves_out_and_learns() -> None:
    compiled = compile_text(RESIDUAL)
    source = model_source(compiled, compiled.graph)
    assert source.count("class Block") == 1 and "Block(0.125)" in source
    plain = module_of(source).N().train()
    calls: list[str] = []
    for name, child in plain.named_modules():
        if isinstance(child, nn.Conv2d):
            child.register_forward_hook(lambda *_, name=name: calls.append(name))
    torch.manual_seed(1)
    x, y = torch.randn(16, 2, 6, 6), torch.randint(0, 3, (16,))
    optimizer = torch.optim.SGD(plain.parameters(), 0.05)
    losses: list[float] = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(plain(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    counts = Counter(calls)
    for i, name in enumerate(["block", "block_2", "block_3", "block_4"], 1):
        assert counts[f"{name}.conv.conv2d"] == counts[f"{name}.conv_2.conv2d"]
        assert abs(counts[f"{name}.conv.conv2d"] - 60 * (1 - i / 8)) < 15
    assert counts["conv.conv2d"] == 60


# --- pictures and stages


def test_pictures_mark_branches_and_show_what_a_draw_leaves_out() -> None:
    graph = compile_text(RESIDUAL).graph
    dot = graph_to_dot(graph)
    assert dot.count("style=dashed") == 4
    for text in ('label="sum drop 12.5%"', 'label="sum drop 50%"', "drop N%, dashed: left out of N%"):
        assert text in dot
    assert "branches left out of training steps: 0%, 50%" in dot
    drawn = graph_to_dot(graph, plan=plan_of_text("0:/11*2.10.11"))
    assert len(re.findall(r'class="layer conv dropped"', drawn)) == 2 and "dropped: not computed" in drawn
    assert "dropped" not in graph_to_dot(graph, plan=plan_of_text("0:/11*4"))
    assert "style=dashed" not in graph_to_dot(compile_text(RESIDUAL.replace("@drop(p)", "")).graph)


def test_the_box_of_a_base_layer_and_the_picture_of_a_rule_tell_the_probability() -> None:
    compiled = compile_text(MIXED)
    assert 'label="res drop 30%"' in graph_to_dot(compiled.graph, Look(opening=Opening(9)))
    assert 'label="sum drop 25%"' in rule_to_dot(
        compile_text(
            "rule F join mean { F[1] = linear(3)  F[n+1] = F[n] >> sum(id, linear(3) @drop(n / 4)) | linear(3) }\n"
            "net N(x: f32[3]) -> f32[3] = F[2]"
        ).program
    )


@pytest.mark.parametrize("stage", list(Stage))
def test_every_stage_can_be_printed(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "n.frac"
    path.write_text(MIXED, "utf-8")
    done = CliRunner().invoke(app, ["compile", str(path), "--emit", stage.value])
    assert done.exit_code == 0 and done.stdout
    told = {Stage.raw: "drop 0.0 0.3", Stage.labelled: "drop 0.0 0.2", Stage.source: "drop_draw(self.drops"}
    assert told.get(stage, "") in done.stdout


# --- how such nets run


@pytest.mark.parametrize("text", [RESIDUAL, MIXED])
def test_recomputed_and_compiled_parts_give_the_same_gradients(text: str) -> None:
    def gradients(text: str, *, level: int | None = None, compile: bool = False) -> list[Tensor]:
        model = build(compile_text(text), seed=1).double().train()
        model.checkpoint(level)
        if compile:
            model.compile(backend="eager")
        x = torch.randn(3, *model.input.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        for step in range(3):
            model.run(x, model.plan(5, step)).square().sum().backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    expected = gradients(text)
    for other in (
        gradients(text.replace("@drop(p)", "@drop(p) @checkpoint")),
        gradients(text.replace("sum(id", "sum(id @checkpoint").replace("@drop(p)", "@checkpoint @drop(p)")),
        gradients(text, level=2),
        gradients(text, compile=True),
    ):
        torch.testing.assert_close(other, expected)


def test_statistics_are_estimated_with_every_branch_unscaled() -> None:
    model = build(compile_text(RESIDUAL), seed=1).double()
    x = torch.randn(64, 2, 6, 6, dtype=torch.float64)
    torch.optim.swa_utils.update_bn([x], model)
    with torch.no_grad():
        whole = model.run(x, model.full_plan())
        torch.testing.assert_close(model.eval()(x), whole, rtol=0.1, atol=0.1)


def test_steps_without_a_branch_keep_a_run_with_the_same_bits(tmp_path: Path) -> None:
    """A run that is stopped after each few steps, and resumed."""
    text = RESIDUAL.replace("global_avgpool", 'sum(id, conv(4) @drop(20%, by="example")) >> global_avgpool')
    text += "train { dataset = synthetic(size=120)  epochs = 2  batch = 16  save_steps = 2  optimizer = sgd(lr=0.05) }"
    compiled = compile_text(text)
    config = parse_config(compiled.program.train)
    shown = Console(file=StringIO())
    train(compiled, config, tmp_path / "whole", console=shown)
    step: Any = Stepper.step
    with pytest.MonkeyPatch.context() as patch:
        for stop in (3, 7):

            def stopped(self: Stepper, x: Any, y: Any, number: int, rate: float, stop: int = stop) -> Any:
                if number == stop:
                    raise KeyboardInterrupt
                return step(self, x, y, number, rate)

            patch.setattr(Stepper, "step", stopped)
            with pytest.raises(KeyboardInterrupt):
                if stop == 3:
                    train(compiled, config, tmp_path / "parts", console=shown)
                else:
                    resume(tmp_path / "parts", console=shown)
    resume(tmp_path / "parts", console=shown)
    assert ends_of(tmp_path / "parts") == ends_of(tmp_path / "whole")
