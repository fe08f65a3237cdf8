"""What ``predict`` answers for each task, as text, JSON and files, and which options it refuses."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from fractal_dsl.base.errors import UserError
from fractal_dsl.cli.app import app
from fractal_dsl.config import parse_config
from fractal_dsl.data.framing import middle, seen
from fractal_dsl.evaluation.continuation import continue_prompt
from fractal_dsl.evaluation.predict import predict
from fractal_dsl.evaluation.run import Run
from fractal_dsl.pipeline import compile_text
from fractal_dsl.training.train import train

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8)).astype(np.uint8)
MEANS = IMAGES.mean((1, 2, 3))
LABELS = np.stack([MEANS > 127, IMAGES[:, 0, 0, 0] > 127, IMAGES[:, 0, 4, 4] > 127], 1)
TARGETS: dict[str, tuple[str, NDArray[Any]]] = {
    "classification": ("f32[2] = F[2] >> flatten >> linear(2)", (MEANS > 127).astype(np.int64)),
    "multilabel": ("f32[3] = F[2] >> flatten >> linear(3)", LABELS.astype(np.int64)),
    "regression": ("f32[2] = F[2] >> flatten >> linear(2)", np.stack([MEANS * 10, -MEANS], 1).astype(np.float32)),
    "segmentation": ("f32[3, 8, 8] = F[2] >> conv2d(3, 1)", (IMAGES[:, 0] // 86).astype(np.int64)),
}
RULE = """
rule F join mean {
    F[1]   = conv2d(4, 3, padding=1) >> relu
    F[n+1] = F[n] >> F[n] | conv2d(4, 3, padding=1) >> relu
}
"""
TEXT = "to be, or not to be, that is the question: " * 60


def trained(folder: Path, spec: str, dataset: object) -> Run:
    config = parse_config({"dataset": dataset, "epochs": 1, "batch": 20, "optimizer": {"name": "sgd", "lr": 0.05}})
    train(compile_text(spec), config, folder, console=Console(file=StringIO()))
    return Run.open(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A small run of each task."""
    root = tmp_path_factory.mktemp("runs")
    made: dict[str, Run] = {}
    for task, (out, targets) in TARGETS.items():
        np.savez(root / f"{task}.npz", inputs=IMAGES, labels=targets)
        made[task] = trained(root / task, f"{RULE} net N(x: f32[1, 8, 8]) -> {out}", f"npz:{root / task}.npz")
    (root / "text.txt").write_text(TEXT)
    spec = "net T(x: i64[16]) -> f32[16, 256] = embedding(256, 8) >> linear(256)"
    return made | {"tokens": trained(root / "tokens", spec, f"text:{root / 'text.txt'}")}


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    np.save(folder / "x.npy", IMAGES[:3])
    np.save(folder / "t.npy", np.frombuffer(TEXT[:32].encode(), np.uint8).reshape(2, 16).astype(np.int64))
    return folder


def outputs(run: Run) -> torch.Tensor:
    """What the net gives for the first three images."""
    record, model = run.data(), run.load()
    mean, std = (torch.tensor(m)[:, None, None] for m in (record.mean, record.std))
    with torch.no_grad():
        return model((torch.from_numpy(IMAGES[:3]).float() - mean) / std)


def cli(*args: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


# --- each task


def test_labels_have_a_probability_each(runs: dict[str, Run], arrays: Path) -> None:
    rows = json.loads(cli("predict", runs["multilabel"].folder, arrays / "x.npy", "--json"))
    for row, expected in zip(rows, outputs(runs["multilabel"]).sigmoid().tolist(), strict=True):
        assert list(row) == ["file", "present", "labels", "column", "ms"]
        assert [label["probability"] for label in row["labels"]] == pytest.approx(expected, abs=1e-5)
        assert {*row["present"]} == {str(i) for i, p in enumerate(expected) if p > 0.5}
    for line, row in zip(cli("predict", runs["multilabel"].folder, arrays / "x.npy").splitlines(), rows, strict=True):
        assert all(f"{name} " in line for name in row["present"]) if row["present"] else "no label above 50%" in line


def test_values_have_the_unit_of_the_targets(runs: dict[str, Run], arrays: Path) -> None:
    run = runs["regression"]
    rows = json.loads(cli("predict", run.folder, arrays / "x.npy", "--json"))
    targets = run.data().targets
    assert targets is not None and len(targets.mean) == 2
    expected = outputs(run) * torch.tensor(targets.std) + torch.tensor(targets.mean)
    for row, values in zip(rows, expected.tolist(), strict=True):
        assert list(row) == ["file", "values", "column", "ms"]
        assert [*row["values"].values()] == pytest.approx(values, rel=1e-4)
    line = cli("predict", run.folder, arrays / "x.npy").splitlines()[0]
    assert f"{rows[0]['values']['0']:.6g}, {rows[0]['values']['1']:.6g}" in line


def test_masks_and_overlays_are_written(runs: dict[str, Run], arrays: Path, tmp_path: Path) -> None:
    run = runs["segmentation"]
    rows = json.loads(cli("predict", run.folder, arrays / "x.npy", "-o", tmp_path / "out", "--json"))
    expected = outputs(run).argmax(1).numpy()
    for i, (row, mask) in enumerate(zip(rows, expected, strict=True)):
        assert list(row) == ["file", "classes", "mask", "overlay", "column", "ms"]
        assert row["mask"] == str(tmp_path / "out" / f"x-{i}-mask.png")
        with Image.open(row["mask"]) as written:
            assert written.mode == "P" and np.array_equal(np.asarray(written), mask)
        with Image.open(row["overlay"]) as overlay:
            shown = np.asarray(overlay)
            assert overlay.mode == "RGB" and overlay.size == (8, 8)
            assert np.array_equal(shown[mask == 0], np.repeat(IMAGES[i, 0][mask == 0][:, None], 3, 1))
        shares = np.bincount(mask.ravel(), minlength=3) / 64
        assert [one["share"] for one in row["classes"]] == pytest.approx(shares.tolist())
    assert len([*(tmp_path / "out").iterdir()]) == 6
    text = cli("predict", run.folder, arrays / "x.npy", "-o", tmp_path / "out")  # replaces its own files
    assert str(tmp_path / "out" / "x-0-overlay.png") in text


def test_a_mask_has_the_size_of_its_image(runs: dict[str, Run], tmp_path: Path) -> None:
    x = np.random.default_rng(1).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    tags = Image.Exif()
    tags[0x0112] = 6  # turned
    Image.fromarray(x).save(tmp_path / "a.png", exif=tags)
    Image.fromarray(x).save(tmp_path / "a.tif")
    found = list(predict(runs["segmentation"], [tmp_path / "a.png", tmp_path / "a.tif"], output=tmp_path))
    places = [row.files for row in found]
    assert places == [
        (tmp_path / "a-mask.png", tmp_path / "a-overlay.png"),
        (tmp_path / "a-2-mask.png", tmp_path / "a-2-overlay.png"),
    ]
    with Image.open(tmp_path / "a-mask.png") as mask, Image.open(tmp_path / "a-overlay.png") as overlay:
        assert mask.size == overlay.size == (20, 30)
        y = np.asarray(mask)
        assert (y[:5] == 255).all() and (y[-5:] == 255).all() and (y[5:-5] < 3).all()  # the net sees the centre
        assert np.array_equal(np.asarray(overlay)[:5], np.rot90(x, -1)[:5])


@pytest.mark.parametrize("whole", [(30, 20), (7, 50), (1, 1), (8, 8), (3, 1000), (301, 299)])
def test_what_the_net_sees_of_an_image(whole: tuple[int, int]) -> None:
    """A part that is marked in the image is what the centre shows, up to a pixel at its edges."""
    left, top, right, bottom = seen(whole, (8, 8), 0.875)
    assert 0 <= left < right <= whole[0] and 0 <= top < bottom <= whole[1]
    image = Image.new("L", whole, 0)
    image.paste(255, (left, top, right, bottom))
    assert (np.asarray(middle(image, (8, 8), 0.875))[1:-1, 1:-1] > 120).all()


def test_files_of_others_are_not_replaced(runs: dict[str, Run], tmp_path: Path) -> None:
    for name in ("a.png", "a-mask.png"):
        Image.fromarray(IMAGES[0, 0]).save(tmp_path / name)
    for inputs in ([tmp_path / "a.png"], [tmp_path / "a.png", tmp_path / "a-mask.png"]):
        with pytest.raises(UserError, match=r"a-mask\.png exists and is not a prediction"):
            predict(runs["segmentation"], inputs, output=tmp_path)
    with pytest.raises(UserError, match="cannot write"):
        list(predict(runs["segmentation"], [tmp_path / "a.png"], output=tmp_path / "a.png"))


def test_tokens_are_told_for_each_position(runs: dict[str, Run], arrays: Path) -> None:
    rows = json.loads(cli("predict", runs["tokens"].folder, arrays / "t.npy", "--json"))
    assert len(rows) == 2
    for row in rows:
        assert list(row) == ["file", "tokens", "probabilities", "text", "column", "ms"]
        assert len(row["tokens"]) == len(row["probabilities"]) == 16
    assert len(cli("predict", runs["tokens"].folder, arrays / "t.npy").splitlines()) == 2


# --- prompts


def test_a_prompt_is_continued(runs: dict[str, Run]) -> None:
    folder = runs["tokens"].folder
    first = json.loads(cli("predict", folder, "--prompt", "to be", "--length", 30, "--seed", 3, "--json"))
    assert list(first) == ["prompt", "continuation", "text", "bytes", "columns", "ms"]
    assert first["prompt"] == "to be" and len(first["bytes"]) == 30 and first["columns"] == [None] * 30
    again = cli("predict", folder, "--prompt", "to be", "--length", 30, "--seed", 3)
    assert again.startswith("to be")
    for option in (("--seed", 4), ("--temperature", 0)):
        other = json.loads(cli("predict", folder, "--prompt", "to be", "--length", 30, *option, "--json"))
        assert other["bytes"] != first["bytes"]


def test_each_byte_is_drawn_from_what_the_net_gives_for_its_window(runs: dict[str, Run]) -> None:
    run, prompt = runs["tokens"], b"that is the question, whether"
    model, text = run.load(), list(prompt)
    for byte in continue_prompt(run, prompt, length=8, temperature=0).continuation:
        with torch.no_grad():
            assert byte == int(model(torch.tensor([text[-16:]]))[0, -1].argmax())
        text.append(byte)
    short = continue_prompt(run, b"to", length=3, temperature=0)
    with torch.no_grad():
        padded = torch.tensor([list(b"to") + [7] * 14])
        assert short.continuation[0] == int(model(padded)[0, 1].argmax())


def test_a_temperature_near_zero_takes_the_most_probable_byte(runs: dict[str, Run]) -> None:
    zero, tiny, cold = (continue_prompt(runs["tokens"], b"or not", length=20, temperature=t) for t in (0, 1e-300, 1e-6))
    assert zero.continuation == tiny.continuation == cold.continuation


def test_bytes_that_are_not_utf8_are_kept(runs: dict[str, Run]) -> None:
    made = continue_prompt(runs["tokens"], b"\xff\xe9", length=2)
    assert made.prompt == b"\xff\xe9" and made.text().startswith("\ufffd\ufffd")


def test_prompts_that_cannot_be_continued_are_refused(runs: dict[str, Run], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the prompt is empty"):
        continue_prompt(runs["tokens"], b"")
    with pytest.raises(
        UserError, match=r"trained for regression on `npz`, and --prompt is for nets .* trained on `text`"
    ):
        continue_prompt(runs["regression"], b"a")
    (tmp_path / "text.txt").write_text(TEXT)
    spec = "net T(x: i64[8]) -> f32[8, 128] = embedding(128, 4) >> linear(128)"
    ascii_only = trained(tmp_path / "run", spec, f"text:{tmp_path / 'text.txt'}")
    with pytest.raises(UserError, match="the byte 233, but the net knows only bytes from 0 to 127"):
        continue_prompt(ascii_only, b"caf\xe9 au lait")
    assert max(continue_prompt(ascii_only, b"a", length=30, temperature=9).continuation) < 128


# --- who answers


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression", "segmentation"])
def test_a_column_answers_by_itself(runs: dict[str, Run], arrays: Path, task: str) -> None:
    run = runs[task]
    rows = json.loads(cli("predict", run.folder, arrays / "x.npy", "--column", 1, "--json"))
    assert [row["column"] for row in rows] == [1, 1, 1]
    limited = json.loads(cli("predict", run.folder, arrays / "x.npy", "--budget-ms", 0, "--json"))
    for row, other in zip(rows, limited, strict=True):
        del row["ms"], other["ms"]
        assert _close(row, other)


def _close(a: Any, b: Any) -> bool:
    """Whether two values of JSON are equal, numbers approximately."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_close(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_close, a, b))
    return a == pytest.approx(b, rel=1e-4) if isinstance(a, float) else a == b


@pytest.mark.parametrize("task", ["classification", "multilabel", "segmentation"])
def test_confidence_is_that_of_the_task(runs: dict[str, Run], arrays: Path, task: str) -> None:
    asked = [
        json.loads(cli("predict", runs[task].folder, arrays / "x.npy", "--confidence", p, "--json")) for p in (0, 1)
    ]
    assert [{row["column"] for row in rows} for rows in asked] == [{1}, {None}]


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("regression", {"confidence": 0.5}, "do not tell how sure the net is: leave --confidence out"),
        ("regression", {"top": 2}, "trained for regression, and --top is for classification: leave it out"),
        ("multilabel", {"output": Path("masks")}, "trained for multilabel, and -o is for the masks of segmentation"),
        ("classification", {"column": 7}, "there is no column 7: net N has columns 1 to 2"),
        (
            "classification",
            {"column": 1, "budget_ms": 3.0},
            "--column asks one column, and --budget-ms asks the columns",
        ),
    ],
)
def test_options_without_a_meaning_are_refused(
    runs: dict[str, Run], arrays: Path, task: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        predict(runs[task], [arrays / "x.npy"], **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give files of inputs or, for a net trained on text, --prompt"),
        (["x.npy", "--seed", "3"], "this option needs --prompt"),
        (["x.npy", "--prompt", "a"], "give files of inputs or a prompt, not both"),
        (["--prompt", "a", "--top", "3"], "this option does not apply to --prompt"),
        (["--prompt", "a", "-o", "out"], "this option does not apply to --prompt"),
        (["--prompt", "a", "--temperature", "inf"], "is not a finite number"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["predict", "run", *arguments], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == 2 and message in " ".join(done.output.replace("│", " ").split())


def test_rows_of_a_table_are_encoded_as_in_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = zip(*rng.random((2, 80)), strict=True)
    lines = [f"{a:.3f},{'red' if b > 0.5 else 'blue'},{3 * a + b:.3f}" for a, b in pairs]
    (tmp_path / "train.csv").write_text("\n".join(["size,colour,price", *lines]) + "\n")
    dataset = {"name": "csv", "path": str(tmp_path / "train.csv"), "target": ["price"]}
    run = trained(tmp_path / "run", "net P(x: f32[3]) -> f32[1] = linear(8) >> relu >> linear(1)", dataset)
    (tmp_path / "new.csv").write_text("colour,size,note\nred,0.5,a\ngreen,0.5,b\nred,0.5,c\n")
    told: list[str] = []
    rows = [row.as_json() for row in predict(run, [tmp_path / "new.csv"], say=told.append)]
    assert [row["file"] for row in rows] == [f"{tmp_path / 'new.csv'}:{line}" for line in (2, 3, 4)]
    assert [*rows[0]["values"]] == ["price"] and rows[0]["values"] == rows[2]["values"] != rows[1]["values"]
    assert told == [f"note: {tmp_path / 'new.csv'} has values that the net was not trained on, so its answers may be "
                    "poor: 1 row with colour=green"]  # fmt: skip
    (tmp_path / "lacking.csv").write_text("colour\nred\n")
    with pytest.raises(UserError, match=r"lacking\.csv has no column `size`"):
        predict(run, [tmp_path / "lacking.csv"])


def test_undefined_outputs_are_refused(runs: dict[str, Run], arrays: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Run.load

    def spoiled(self: Run, weights: Any = "best") -> Any:
        model = load(self, weights)
        with torch.no_grad():
            next(model.parameters()).fill_(float("nan"))
        return model

    monkeypatch.setattr(Run, "load", spoiled)
    with pytest.raises(UserError, match=r"x\.npy\[0\]: the net's output is infinite or undefined"):
        list(predict(runs["regression"], [arrays / "x.npy"]))


def test_a_spec_is_no_input(runs: dict[str, Run], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"net\.frac is a spec\. Give inputs of the net"):
        list(predict(runs["multilabel"], [tmp_path / "net.frac"]))
