"""Anytime answers: each that of its column, to the last bit, and no work done twice."""

from __future__ import annotations

import copy
import gc
import json
import weakref
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import fractal_dsl
from fractal_dsl.base.errors import UserError
from fractal_dsl.cli.app import app
from fractal_dsl.data import load
from fractal_dsl.data.inputs import read_inputs
from fractal_dsl.evaluation.evaluate import choose_device
from fractal_dsl.evaluation.measure import measure_all
from fractal_dsl.evaluation.predict import predict
from fractal_dsl.evaluation.run import Run
from fractal_dsl.evaluation.tradeoff import measure_tradeoff
from fractal_dsl.graph.graph import Layer
from fractal_dsl.ops import Tensor
from fractal_dsl.pipeline import compile_file, compile_text
from fractal_dsl.runs.data_record import DataRecord, Inputs
from fractal_dsl.runtime import FractalModule, build
from fractal_dsl.runtime.anytime import Anytime, anytime
from tests.support.oracle import Spec, specs
from tests.support.runs import digits_run
from tests.test_artifact import inputs, residual, trained

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's net after three epochs."""
    return digits_run(tmp_path_factory.mktemp("runs") / "digits", 3)


# --- the answers


def assert_answers(model: FractalModule) -> None:
    """Each answer is its column's, or the whole net's; no layer works on one tensor twice."""
    x = inputs(model, 3)
    calls: list[tuple[str, torch.Tensor]] = []

    def note(name: str) -> Any:
        return lambda _, given: calls.append((name, given[0]))

    layers = [node for _, node in model.join_graph.items() if isinstance(node, Layer) and node.spec.name != "id"]
    uses = Counter(node.module for node in layers)
    hooks = [model.get_submodule(n).register_forward_pre_hook(note(n)) for n, count in uses.items() if count == 1]
    answers = list(anytime(model, x))
    for hook in hooks:
        hook.remove()
    assert len({(name, id(given)) for name, given in calls}) == len(calls)
    columns = range(1, len(model.join_graph.columns) + 1)
    assert [a.column for a in answers] == [*columns, None]
    for answer in answers:
        plan = model.full_plan() if answer.column is None else model.column_plan(answer.column)
        with torch.no_grad():
            assert torch.equal(answer.logits, model.run(x, plan))
    assert all(a.macs <= b.macs and a.seconds <= b.seconds for a, b in pairwise(answers))


@settings(max_examples=10)
@given(spec=specs)
def test_answers_of_random_rules(spec: Spec) -> None:
    compiled = compile_text(spec.text())
    if compiled.summary.base_layers < 40:
        assert_answers(build(compiled, 1).eval())


def test_answers_of_a_net_with_routes_joins_on_the_spot_and_identities() -> None:
    assert_answers(trained(residual()))
    assert_answers(trained(compile_file(EXAMPLES / "digits.frac")))


SHARED = """
rule F(out: int) join mean {
    F[1] = conv2d(out, 3, padding=1) >> relu
    F[n+1] = F[n] >> F[n] | conv2d(out, 1) >> relu
}
net N(x: f32[3, 8, 8]) -> f32[10]
    with drop_path(local=15%)
    = conv2d(8, 3) >> batchnorm2d >> F[3](8) >> global_avgpool >> linear(10)
"""


def test_macs_count_shared_work_once() -> None:
    """By hand: the stem is every column's, and the whole net begins as its columns do."""
    compiled = compile_text(SHARED)
    model = trained(compiled)
    assert_answers(model)
    assert [p.alone for p in Anytime(model).increments] == [
        *(c.macs for c in compiled.summary.columns),
        compiled.summary.macs,
    ]
    stem, wide, narrow, linear = 3 * 8 * 9 * 36, 8 * 8 * 9 * 36, 8 * 8 * 36, 80
    # column 1: a; column 2: b1 b2; column 3: c1 c2 c3 c4. The whole net has a, b1, c1 and c2 of them, and behind the
    # join of b1 and c2 it needs b2, c3 and c4 anew
    added = [stem + narrow + linear, 2 * narrow + linear, 4 * wide + linear, narrow + 2 * wide + linear]
    assert [p.macs for p in Anytime(model).increments] == added
    assert [a.macs for a in anytime(model, inputs(model, 0))] == [sum(added[: i + 1]) for i in range(4)]


def test_values_are_given_up_after_their_last_use() -> None:
    """A run of all answers ends with nothing but the answers, and holds no value longer than it is read."""
    increments = Anytime(trained(compile_text(SHARED))).increments
    calls = [call for increment in increments for call in increment.calls]
    results = {increment.result for increment in increments}
    last = {key: i for i, call in enumerate(calls) for key in call.operands}
    for i, call in enumerate(calls):
        assert all(last[key] == i and key not in results for key in call.free)
    assert {call.result for call in calls} - {key for call in calls for key in call.free} == results


def test_a_net_without_columns_has_one_answer() -> None:
    model = build(compile_text("net N(x: f32[4]) -> f32[3] = linear(3)")).eval()
    (answer,) = fractal_dsl.anytime(model, torch.ones(2, 4))
    assert answer.column is None and answer.macs == 12
    with pytest.raises(UserError, match=r"model\.eval\(\)"):
        anytime(model.train(), torch.ones(2, 4))


# --- when to stop


def test_confidence_stops_at_the_first_answer_that_has_it(run: Path) -> None:
    model = Run.open(run).load()
    planned = Anytime(model)
    for seed in range(10):
        x = inputs(model, seed)[:1]
        answers = list(planned(x))
        for level in (0.3, 0.6, 0.9, 1.1):
            due = next((a for a in answers if a.confidence.min() >= level), answers[-1])
            assert planned.until(x, confidence=level).column == due.column


def test_a_budget_begins_no_answer_that_would_overrun_it(run: Path) -> None:
    """With made-up times, so that no clock decides: parts said to take 1, 2, 4 and 8 ks; real ones take nothing."""
    model = Run.open(run).load()
    planned = Anytime(model)
    x = inputs(model, 0)[:1]
    times = [1e3, 2e3, 4e3, 8e3]
    for budget, column in ((0.0, 1), (1e3, 1), (2001.0, 2), (4001.0, 3), (8001.0, None)):
        assert planned.until(x, budget=budget, seconds=times).column == column
    slow = [1e-9, 1e-9, 1e-9, 1e-9]  # the first answer takes far longer than that: so would the second
    assert planned.until(x, budget=1e-6, seconds=slow).column == 1
    assert planned.until(x, budget=8001.0, confidence=0.0, seconds=times).column == 1


# --- reading inputs


def digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    with np.load(Path(fractal_dsl.__file__).parent / "data" / "digits.npz") as archive:
        return archive["images"], archive["labels"]


def test_predictions_are_those_of_evaluation(run: Path, tmp_path: Path) -> None:
    """Arrays of the data set, and the same digits as image files, give the logits that evaluation gets."""
    opened = Run.open(run)
    model = opened.load()
    data = load(opened.config, "Digits", model.inputs, model.outputs, choose_device("cpu"))
    images, _ = digits()
    np.save(tmp_path / "all.npy", images[:50])
    found = list(predict(opened, [tmp_path / "all.npy"], top=10))
    with torch.no_grad():
        x = (torch.from_numpy(images[:50, None]).float() - data.mean) / data.std
        shares = model(x).softmax(1)
    for row, share in zip(found, shares, strict=True):
        torch.testing.assert_close(torch.tensor(row.reading.probabilities), share.sort(descending=True).values)
        assert row.reading.classes[0] == int(share.argmax()) and row.column is None
    for i in range(10):  # 16 shades become 256, and back
        picture = Image.fromarray((images[i].astype(float) * 255 / 16).round().astype(np.uint8))
        picture.save(tmp_path / "grey.png")
        picture.convert("RGB").save(tmp_path / "colour.png")
        for name in ("grey.png", "colour.png"):
            (row,) = predict(opened, [tmp_path / name])
            assert row.reading.classes == found[i].reading.classes[:1]
            assert abs(row.reading.probabilities[0] - found[i].reading.probabilities[0]) < 0.03


@pytest.mark.parametrize(
    ("shape", "into"),
    [
        ((5, 3, 4, 6), (3, 4, 6)),
        ((3, 4, 6), (3, 4, 6)),
        ((5, 4, 6, 3), (3, 4, 6)),
        ((4, 6, 3), (3, 4, 6)),
        ((5, 4, 6), (1, 4, 6)),
        ((4, 6), (1, 4, 6)),
        ((1, 4, 6), (1, 4, 6)),
        ((5, 7), (7,)),
        ((7,), (7,)),
    ],
)
def test_arrays_are_laid_out_as_the_net_takes_them(
    tmp_path: Path, shape: tuple[int, ...], into: tuple[int, ...]
) -> None:
    array = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    np.savez(tmp_path / "x.npz", something=array)
    rows = read_inputs(tmp_path / "x.npz", Tensor("f32", into), recorded("float32", 0, 200), None, print)
    assert len(rows) == (5 if shape[0] == 5 else 1)
    first = rows[0][1].numpy()
    assert first.shape == into and first.dtype == np.float32
    last = shape[-1] == 3
    expected = array[0] if shape[0] == 5 else array
    assert np.array_equal(first, np.moveaxis(expected, -1, 0) if last else expected.reshape(into))


def bad_files(folder: Path) -> list[tuple[Path, str]]:
    images, _ = digits()
    np.save(folder / "small.npy", images[:3, :7])
    np.save(folder / "objects.npy", np.array([None, 1], dtype=object), allow_pickle=True)
    np.save(folder / "nan.npy", np.full((8, 8), np.nan))
    np.save(folder / "text.npy", np.full((8, 8), "a"))
    np.save(folder / "none.npy", images[:0])
    np.savez(folder / "two.npz", a=images, b=images)
    (folder / "text.png").write_text("no image")
    (folder / "cut.npy").write_bytes((folder / "small.npy").read_bytes()[:90])
    (folder / "text.npz").write_text("no archive")
    return [
        (folder / "small.npy", r"uint8 \[3, 7, 8\], but the net takes f32\[1, 8, 8\]"),
        (folder / "objects.npy", "Python objects"),
        (folder / "nan.npy", "infinite"),
        (folder / "text.npy", "contains <U1"),
        (folder / "none.npy", "nothing to predict"),
        (folder / "two.npz", "one array alone, but has a, b"),
        (folder / "text.png", "cannot be read as an image"),
        (folder / "cut.npy", "damaged"),
        (folder / "text.npz", "damaged|Python objects"),
        (folder / "missing.png", "there is no file"),
        (folder / "missing.npy", "there is no file"),
        (folder, "is a folder: name the files"),
    ]


def test_what_cannot_be_read_is_refused(run: Path, tmp_path: Path) -> None:
    opened = Run.open(run)
    for path, message in bad_files(tmp_path):
        with pytest.raises(UserError, match=message):
            predict(opened, [path])
    (run / "data.json").rename(tmp_path / "data.json")
    try:
        with pytest.raises(UserError, match=r"data\.json"):
            Run.open(run)
    finally:
        (tmp_path / "data.json").rename(run / "data.json")


def recorded(dtype: str, low: float, high: float, dataset: str = "npz") -> DataRecord:
    """What a run on such values keeps."""
    inputs = Inputs(dtype, [1, 8, 8], low, high)
    return DataRecord(dataset, ["a", "b"], inputs, None, [0], [1], "by content", {}, {}, [], {})


def test_image_files_are_for_images_of_known_values(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "x.png")
    for into, record, message in (
        (Tensor("f32", (5,)), recorded("uint8", 0, 255), "which image files cannot hold"),
        (Tensor("f32", (4, 8, 8)), recorded("uint8", 0, 255), "which image files cannot hold"),
        (Tensor("i64", (8,)), recorded("int64", 0, 255), "which image files cannot hold"),
        (Tensor("f32", (1, 8, 8)), recorded("float32", 0, 1), r"trained on float32 \[1, 8, 8\] from 0 to 1"),
        (Tensor("f32", (1, 8, 8)), recorded("uint8", 0, 16), r"trained on uint8 \[1, 8, 8\] from 0 to 16"),
    ):
        with pytest.raises(UserError, match=message):
            read_inputs(tmp_path / "x.png", into, record, None, print)
    np.save(tmp_path / "tokens.npy", np.array([1, 9]))
    with pytest.raises(UserError, match="tokens from 1 to 9, but the net takes 0 to 4"):
        read_inputs(tmp_path / "tokens.npy", Tensor("i64", (2,)), recorded("int64", 0, 4), 5, print)
    np.save(tmp_path / "tokens.npy", np.array([-1, 9]))
    with pytest.raises(UserError, match="tokens from -1 to 9, but the net takes 0 or more"):
        read_inputs(tmp_path / "tokens.npy", Tensor("i64", (2,)), recorded("int64", 0, 4), None, print)


# --- the commands


def cli(*args: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_predict_tells_which_column_answered(run: Path, tmp_path: Path) -> None:
    images, _ = digits()
    np.save(tmp_path / "x.npy", images[:30])
    rows = json.loads(cli("predict", run, tmp_path / "x.npy", "--confidence", 0.8, "--top", 3, "--json"))
    assert len(rows) == 30 and len({row["column"] for row in rows}) > 1
    for row in rows:
        assert list(row) == ["file", "class", "name", "probability", "top", "column", "ms"]
        assert len(row["top"]) == 3 and row["top"][0].items() <= row.items() and row["name"] == str(row["class"])
        assert row["column"] is None or row["probability"] >= 0.8
    text = cli("predict", run, tmp_path / "x.npy", "--confidence", 0.8).splitlines()
    assert len(text) == 30
    for line, row in zip(text, rows, strict=True):
        assert f"   {row['name']} " in line
        assert (f"column {row['column']}," if row["column"] else "whole net,") in line
    late = cli("predict", run, tmp_path / "x.npy", "--budget-ms", 0)
    assert late.count("column 1,") == late.count("over budget") == 30


def test_eval_anytime_measures_each_way_to_answer(run: Path) -> None:
    found = json.loads(cli("eval", run, "--columns", "--anytime", "--json"))
    networks, policies = found["anytime"]["networks"], found["anytime"]["policies"]
    whole = [{"accuracy": c["accuracy"]} for c in found["columns"]] + [{"accuracy": found["accuracy"]}]
    for network, expected in zip(networks, whole, strict=True):
        assert network["accuracy"] == pytest.approx(expected["accuracy"], abs=1e-9) and network["ms"] > 0
    summary = Run.open(run).compiled.summary
    assert [n["macs"] for n in networks] == [*(c.macs for c in summary.columns), summary.macs]
    assert [p["macs"] for p in policies] == sorted(p["macs"] for p in policies)
    for policy in policies:
        assert sum(policy["answered"]) == pytest.approx(1)
    svg = (run / "anytime.svg").read_text()
    assert "column 3" in svg and "whole net" in svg and "million multiply-accumulates" in svg
    text = cli("eval", run, "--anytime")
    assert "confidence >= 95 %" in text and "not calibrated" in text and "whole net" in text


def test_policies_are_those_of_answering_one_by_one(run: Path) -> None:
    opened = Run.open(run)
    model = opened.load()
    data = load(opened.config, "Digits", model.inputs, model.outputs, choose_device("cpu"))
    policy = next(p for p in measure_tradeoff(model, data, data.test)["policies"] if p["confidence"] == 0.9)
    x, y = data.batch(data.test, slice(0, len(data.test)))
    planned = Anytime(model)
    answers = [planned.until(row[None], confidence=0.9) for row in x]
    right = [int(a.logits.argmax()) == int(label) for a, label in zip(answers, y, strict=True)]
    assert policy["accuracy"] == pytest.approx(sum(right) / len(right))
    assert policy["macs"] == pytest.approx(sum(a.macs for a in answers) / len(answers))


def test_measuring_reads_the_data_once_for_all_columns(run: Path) -> None:
    opened = Run.open(run)
    model = opened.load()
    data = load(opened.config, "Digits", model.inputs, model.outputs, choose_device("cpu"))
    x, y = data.batch(data.test, slice(0, len(data.test)))
    found = measure_all(model, data, data.test)
    for k, row in enumerate([*found["columns"], found], 1):
        plan = model.column_plan(k) if "column" in row else model.full_plan()
        with torch.no_grad():
            logits = model.run(x, plan)
        assert row["loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, y)), rel=1e-5)
        assert row["accuracy"] == pytest.approx(float((logits.argmax(1) == y).double().mean()))


def test_a_model_is_planned_once_until_a_module_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(compile_file(EXAMPLES / "digits.frac"), seed=1).eval()
    x = inputs(model, 2)
    planned: list[FractalModule] = []
    plan = Anytime._plan  # pyright: ignore[reportPrivateUsage]

    def counted(self: Anytime, bound: Any) -> Any:
        planned.append(self.model)
        return plan(self, bound)

    monkeypatch.setattr(Anytime, "_plan", counted)
    first = [answer.logits for answer in anytime(model, x)]
    assert all(torch.equal(a, b.logits) for a, b in zip(first, anytime(model, x), strict=True))
    assert len(planned) == 1
    copied = copy.deepcopy(model)
    assert all(torch.equal(a, b.logits) for a, b in zip(first, anytime(copied, x), strict=True))
    assert len(planned) == 2
    name = next(name for name, module in model.named_modules() if isinstance(module, nn.Linear))
    model.set_submodule(name, nn.Linear(model.get_submodule(name).in_features, 10))  # type: ignore[arg-type]
    assert not any(torch.equal(a, b.logits) for a, b in zip(first, anytime(model, x), strict=True))
    assert len(planned) == 3


def test_a_planned_model_is_freed() -> None:
    model = build(compile_file(EXAMPLES / "digits.frac"), seed=1).eval()
    list(anytime(model, inputs(model, 2)))
    seen = weakref.ref(model)
    del model
    gc.collect()
    assert seen() is None
