"""Gated joins, user joins and Python's joins against a recursive evaluator: the whole net, columns and plans."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from fractal_dsl.compiled import Compiled
from fractal_dsl.graph.graph import Join, Layer
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.pipeline import compile_text
from fractal_dsl.plans.plan import FULL, Plan
from fractal_dsl.runtime import FractalModule, build
from fractal_dsl.runtime.artifact import load_artifact, model_source, save_artifact
from fractal_dsl.runtime.fit import tensors_of
from fractal_dsl.runtime.layers import Gated
from tests.support.effort import examples
from tests.support.oracle import Columns, Evaluator, Spec, column_choice, specs

USER_JOINS = """
    join j = gated(0.1) >> relu
    join wide(out: int) = concat >> conv2d(out, 1)
"""


class General(Evaluator):
    """The oracle with the joins that it lacks; ``gates`` yields the logits of each gated join in turn."""

    gates: Iterator[Tensor] = iter(())

    def close(self, columns: Columns) -> Tensor:
        tensors = [t for _, t in columns]
        if len(tensors) == 1:
            return super().close(columns)
        levels = [level for level, _ in columns]
        labels = [(level, levels[:i].count(level)) for i, level in enumerate(levels)]
        self.labels.append(labels)
        on = self.live(labels)
        if self.spec.join == "wide(4)":
            factor = len(on) / sum(on) if self.local else 1
            parts = [t * factor if flag else torch.zeros_like(t) for t, flag in zip(tensors, on, strict=True)]
            return next(self.layers)(torch.cat(parts, 1))
        logits = next(self.gates)
        total = sum(g.exp() for g, flag in zip(logits, on, strict=True) if flag)
        result = torch.stack([t * g.exp() / total for t, g, flag in zip(tensors, logits, on, strict=True) if flag])
        return result.sum(0).relu() if self.spec.join == "j" else result.sum(0)


def compiled(spec: Spec, shared: bool = False) -> Compiled:
    text = USER_JOINS + spec.text()
    if shared:
        text = text.replace("layer conv", "shared conv").replace("layer point", "shared point")
    result = compile_text(text)
    assume(result.summary.base_layers <= 80)
    assume(math.prod(result.summary.output_shape) and max(n.out.shape[0] for _, n in result.raw.items()) <= 3000)
    return result


def oracle(spec: Spec, model: FractalModule, choose: object = None, plan: Plan | None = None) -> General:
    nodes = [n for _, n in model.join_graph.items()]
    layers = iter([model.get_submodule(n.module) for n in nodes if isinstance(n, Layer) and n.spec.weighted])
    branches = iter(plan.branches) if plan is not None and plan.branches else None
    local = plan is not None and plan.route == FULL
    result = General(spec, layers, choose, local, branches)  # type: ignore[arg-type]
    gates = [model.get_submodule(n.name) for n in nodes if isinstance(n, Join) and n.spec.name == "gated"]
    result.gates = iter([g.logits for g in gates if isinstance(g, Gated)])
    return result


@settings(max_examples=examples(30))
@given(
    spec=specs,
    join=st.sampled_from(["gated", "gated(0.3)", "j", "wide(4)"]),
    seed=st.integers(0, 2**31),
    shared=st.booleans(),
)
def test_every_join_means_what_the_recurrence_says(spec: Spec, join: str, seed: int, shared: bool) -> None:
    spec = replace(spec, join=join)
    c = compiled(spec, shared)
    model = build(c, seed).double().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Gated):
                module.logits.normal_()
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    close = {"rtol": 1e-9, "atol": 1e-12}
    with torch.no_grad():
        whole = oracle(spec, model)
        torch.testing.assert_close(model(x), whole.net(x), **close)
        order = sorted({label for labels in whole.labels for label in labels}, key=lambda p: (-p[0], p[1]))
        columns = model.join_graph.columns
        for k in range(1, model.n_columns + 1):
            choice = column_choice(order, order.index(columns[k - 1]) + 1) if order else None
            expected = oracle(spec, model, choice).net(x)
            for alone in (lambda x, k=k: model.run(x, model.column_plan(k)), model.column(k), model.extract(k).eval()):
                torch.testing.assert_close(alone(x), expected, **close)
        for step in range(3):
            plan = model.plan(seed, step)
            live = iter(plan.live)
            expected = oracle(spec, model, lambda labels, live=live: list(next(live)), plan).net(x)
            torch.testing.assert_close(model.run(x, plan), expected, **close)


@settings(max_examples=examples(30))
@given(spec=specs, join=st.sampled_from(["gated(0.3)", "j", "wide(4)", "mean"]), shared=st.booleans())
def test_figures_count_gates_and_what_is_shared_once(spec: Spec, join: str, shared: bool) -> None:
    c = compiled(replace(spec, join=join), shared)
    model = build(c, device="meta")
    assert c.summary.params == sum(p.numel() for p in model.parameters())
    for k, column in enumerate(c.summary.columns, 1):
        assert column.params == sum(p.numel() for p in model.column(k).parameters())


NET = """
join j(k: float) = gated(k) >> relu
rule F join j(0.2) { F[1] = linear(6)  F[n+1] = F[n] >> F[n] | gated(linear(6), id, linear(6)) }
net N(x: f32[6]) -> f32[6] with drop_path(local=30%, global=50%) = F[3] >> gated(linear(6), id)
"""


def perturbed(c: Compiled) -> FractalModule:
    model = build(c, 1).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return model


def test_gates_collapse_to_one_gate_over_all_columns() -> None:
    c = compile_text(NET)
    gates = [m.logits.numel() for m in build(c).modules() if isinstance(m, Gated)]
    assert sorted(gates) == [2, 2, 3, 3, 3, 3]  # of the rule 2 and 3; inline 3 in each of three, and 2
    model = build(c, device="meta")
    assert c.summary.params == sum(p.numel() for p in model.parameters())
    for k, column in enumerate(c.summary.columns, 1):
        assert column.params == sum(p.numel() for p in model.column(k).parameters())
    assert all(g.args["init"] == 0.2 for _, g in c.graph.joins())


def test_gates_are_written_saved_and_extracted(tmp_path: Path) -> None:
    c = compile_text(NET)
    model = perturbed(c)
    x = torch.randn(3, 6)
    save_artifact(c, model, tmp_path / "net")
    again = load_artifact(tmp_path / "net")
    assert torch.equal(again(x), model(x))
    for k in range(1, model.n_columns + 1):
        assert torch.equal(again.extract(k)(x), model.run(x, model.column_plan(k)))
    for alone, column in [(model, None), (model.extract(1), 1)]:
        names: dict[str, type[torch.nn.Module]] = {}
        exec(model_source(c, alone.join_graph, column), names)
        plain = names["N"]().eval()
        plain.load_state_dict(tensors_of(alone))
        assert torch.equal(plain(x), alone(x))


def test_gates_learn_under_drop_path() -> None:
    model = build(compile_text(NET), 3).train()
    for _ in range(12):
        model(torch.randn(4, 6)).square().sum().backward()
    assert all(m.logits.grad is not None for m in model.modules() if isinstance(m, Gated))


@pytest.mark.parametrize(
    ("join", "message"),
    [
        ('gated("a")', "`init` of `gated` must be float, found str"),
        ("gated(1, 2)", "`gated` takes 1 argument:"),
    ],
)
def test_wrong_gates_are_refused(join: str, message: str) -> None:
    with pytest.raises(FracError, match=message):
        compile_text(f"rule F join {join} {{ F[1] = id | id }}\nnet N(x: f32[8]) -> f32[8] = F[1]")


def test_operands_of_a_gate_have_one_shape_of_numbers() -> None:
    with pytest.raises(FracError, match="`gated` joins operands of one shape"):
        compile_text("net N(x: f32[8]) -> f32[8] = gated(id, linear(4))")
    with pytest.raises(FracError, match="takes floating-point numbers"):
        compile_text("net N(x: i64[8]) -> i64[8] = gated(id, id)")


# --- joins over comprehensions

LINEAR = "net N(x: f32[8]) -> f32[8] = "
IMAGE = "net N(x: f32[3, 8, 8]) -> f32[8, 8, 8] = "


@pytest.mark.parametrize(
    ("text", "written_out"),
    [
        (
            "layer a(ks: [int] = [1, 3], o: int = 4) = concat(conv2d(o, k, padding=k // 2) for k in ks) " + IMAGE + "a",
            f"{IMAGE} concat(conv2d(4, 1), conv2d(4, 3, padding=1))",
        ),
        (
            "layer a(o: int, r: [int]) = concat(conv2d(o, 1), [conv2d(o, 3, padding=d, dilation=d) for d in r])"
            + f"{IMAGE} a(4, [2])",
            f"{IMAGE} concat(conv2d(4, 1), conv2d(4, 3, padding=2, dilation=2))",
        ),
        (
            f"layer a(ks: [int], ps: [int]) = mean(conv2d(8, k, padding=p) for k, p in zip(ks, ps)) {IMAGE}"
            "a([1, 3], [0, 1])",
            f"{IMAGE} mean(conv2d(8, 1), conv2d(8, 3, padding=1))",
        ),
        (
            f"layer a(j: join, card: int) = j(conv2d(4, 1) for i in range(card)) {IMAGE} a(concat, 2)",
            f"{IMAGE} concat(conv2d(4, 1), conv2d(4, 1))",
        ),
        (
            f"layer a(card: int) = concat(dim=1)(conv2d(4, 1) for i in range(card)) {IMAGE} a(2)",
            f"{IMAGE} concat(conv2d(4, 1), conv2d(4, 1))",
        ),
        (
            "join j(o: int) = concat >> conv2d(o, 1)"
            f"layer a(card: int) = j(8)(conv2d(2, 1) for i in range(card)) {IMAGE} a(3)",
            f"{IMAGE} concat(conv2d(2, 1), conv2d(2, 1), conv2d(2, 1)) >> conv2d(8, 1)",
        ),
        (
            f"layer a(bs: [block]) = sum(b >> relu for b in bs) {LINEAR} a([linear(8), id])",
            f"{LINEAR} sum(linear(8) >> relu, relu)",
        ),
        (
            "layer a(bs: [[block]]) = sum(mean(b for b in reversed(c)) for c in bs)"
            f"{LINEAR} a([[id, linear(8)], [id]])",
            f"{LINEAR} sum(mean(linear(8), id), mean(id))",
        ),
        (
            f"layer a(k: int) = sum(linear(8) for i in range(k)) {LINEAR} a(2) >> a(1)",
            f"{LINEAR} sum(linear(8), linear(8)) >> linear(8)",
        ),
        (
            "rule D { D[0] = linear(8)  D[n+1] = sum(D[i] for i in range(n + 1)) >> relu }" + f"{LINEAR} D[2]",
            f"{LINEAR} sum(linear(8), linear(8) >> relu) >> relu",
        ),
        (
            "rule D(k: int) { D[0] = linear(8)  D[n+1] = sum(id, [D[n] for i in range(k * n)]) }" + f"{LINEAR} D[2](2)",
            f"{LINEAR} sum(id, id, id)",
        ),
        (
            "let lv = [[], [0], [0, 1]] let width = [4, 0.5]"
            "rule D { D[0] = linear(8)  D[n+1] = sum(D[i] for i in lv[n + 1]) >> dropout(width[n // 9 + 1]) }"
            f"{LINEAR} D[2]",
            f"{LINEAR} sum(linear(8), linear(8) >> dropout(0.5)) >> dropout(0.5)",
        ),
    ],
)
def test_joins_over_lists_that_are_not_known_by_themselves(text: str, written_out: str) -> None:
    one, other = (build(compile_text(t), 1).eval() for t in (text, written_out))
    x = torch.randn(2, *one.input.shape, generator=torch.Generator().manual_seed(0))
    assert len(one.state_dict()) == len(other.state_dict())
    torch.testing.assert_close(one(x), other(x))


@pytest.mark.parametrize(
    "body",
    ["sum(linear(8) for i in range(0))", "concat([])", "seq(j([], []), id)", "concat(dim=1)([])", "a(0)"],
)
def test_a_join_of_empty_lists_is_told_as_that(body: str) -> None:
    declared = "join j = mean >> relu  layer a(k: int) = sum(linear(8) for i in range(k)) "
    with pytest.raises(FracError, match="a join needs at least one branch, but this list is empty") as error:
        compile_text(f"{declared}{LINEAR} {body}")
    assert len(error.value.diagnostics) == 1


def test_repetitions_of_a_shared_block_construct_the_same_whatever_comes_in() -> None:
    pools = "shared l = adaptiveavgpool2d(4) ** 3 >> conv2d(8, 1)\n"  # of 8 by 8 the first changes the shape, then none
    text = pools + "net N(x: f32[8, 8, 8]) -> f32[8, 4, 4] = l >> l"
    assert compile_text(text).summary.params == 8 * 8 + 8
