"""The rows of a shelf: which can be compared, what is noted about them, and the page that shows them."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from fractal_dsl.base.errors import UserError
from fractal_dsl.deploy.page import write_shelf_page
from fractal_dsl.deploy.shelf import Shelf, ShelfManifest, ShelfRow

MANIFEST: dict[str, Any] = {
    "format": "fractal_dsl shelf",
    "format_version": 2,
    "net": "Net",
    "source": "run",
    "task": "classification",
    "weights_sha256": "0",
    "takes": {"input": "f32[1, 8, 8]"},
    "gives": {"output": "f32[10]"},
    "answers": ["column1", "column2", "whole"],
    "confidence": 0.9,
}


def row(net: str = "whole", target: str = "onnx", **more: Any) -> ShelfRow:
    figures: dict[str, Any] = {"score": 0.9, "ms": 1.0, "ms_p95": 2.0, "ms_mean": more.get("ms", 1.0), "repeats": 9}
    conditions = {"batch": 1, "threads": 1, "confidence": None, "warmup": 10}
    check: dict[str, Any] = {"verified": True, "difference": 1e-7, "agreement": None, "sha256": "0"}
    costs: dict[str, Any] = {"bytes": 1000, "memory": 10**8, "seconds": 1.0, "layout": "", "largest": None}
    names: dict[str, Any] = {"net": net, "target": target, "precision": "float32", "file": "x", "parts": []}
    return ShelfRow(**{**names, **check, **figures, **conditions, **costs, **more})


def shelf(folder: Path, *rows: ShelfRow, **manifest: Any) -> Shelf:
    made = Shelf(folder, ShelfManifest(**{**MANIFEST, **manifest}), [])
    for one in rows:
        made.put(one)
    return made


def test_rows_are_in_the_order_of_formats_and_of_answers(tmp_path: Path) -> None:
    rows = [row(n, t) for t in ("openvino", "onnx", "executorch", "pt2") for n in ("anytime", "whole", "column2")]
    made = shelf(tmp_path, *rows)
    assert [r.target for r in made.rows[::3]] == ["onnx", "pt2", "executorch", "openvino"]
    assert [r.net for r in made.rows[:3]] == ["column2", "whole", "anytime"]


@pytest.mark.parametrize(
    ("latest", "other", "note"),
    [
        ({"batch": 32}, {}, "measured with batches of 1"),
        ({"threads": 2}, {}, "measured with 1 thread"),
        ({"batch": 8, "threads": 2}, {}, "measured with batches of 1, 1 thread"),
        ({"batch": 128}, {"batch": 64, "largest": 64}, "measured with batches of 64"),
        ({"confidence": 0.5}, {"net": "anytime", "confidence": 0.9}, "measured with confidence 0.9"),
    ],
)
def test_only_what_was_measured_alike_is_compared(
    tmp_path: Path, latest: dict[str, Any], other: dict[str, Any], note: str
) -> None:
    now = {"batch": latest.get("batch", 1), "threads": latest.get("threads", 1)}
    made = shelf(tmp_path, row("column1", ms=5.0, **now), row(ms=0.1, score=1.0, **other), **latest)
    assert [made.note(r) for r in made.rows if not made.comparable(r)] == [note]
    assert [r.net for r in made.front()] == ["column1"]
    (tmp_path / "x").touch()
    assert made.link_best(10).net == "column1"
    with pytest.raises(UserError, match=r"within 1 ms.*: the nearest is column1 by onnx, 5 ms"):
        made.link_best(1)
    write_shelf_page(made, {}, {})
    page = (tmp_path / "shelf.html").read_text()
    assert page.count("<title>") == 2 and note in page, "a mark for the comparable row, and the page's title"


def test_best_has_the_weights_that_are_beside_it(tmp_path: Path) -> None:
    """OpenVINO looks for `best.bin`. Another best net leaves no link of the one before."""
    made = shelf(
        tmp_path, row(target="openvino", file="whole.xml", parts=["whole.bin"]), row("column1", score=0.5, ms=0.5)
    )
    made.link_best(1)
    links = {path.name: str(path.readlink()) for path in tmp_path.iterdir() if path.is_symlink()}
    assert links == {"best": "whole.xml", "best.bin": "whole.bin"}
    made.link_best(0.7)
    assert [path.name for path in tmp_path.iterdir() if path.is_symlink()] == ["best"]


def test_without_comparable_rows_the_reason_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no net answers within 1 ms, because none is verified"):
        shelf(tmp_path, row(verified=False)).link_best(1)
    with pytest.raises(UserError, match="within 1 ms for batches of 32, because none is measured"):
        shelf(tmp_path, row(), batch=32).link_best(1)


def test_an_anytime_net_of_some_columns_says_which(tmp_path: Path) -> None:
    every = ["column1", "column2", "whole"]
    some = row("anytime", "onnx", confidence=0.9, answers=every[1:])
    made = shelf(tmp_path, some, row("anytime", "pt2", confidence=0.9, answers=every))
    assert [made.note(one) for one in made.rows] == ["asks column2, whole", ""]
    assert Shelf.read(tmp_path).rows == made.rows


@pytest.mark.parametrize(("ms", "noted"), [(0.5, False), (1.5, True)])
def test_a_slow_int8_net_is_noted(tmp_path: Path, ms: float, noted: bool) -> None:
    made = shelf(tmp_path, row(), row(precision="int8", ms=ms, agreement=1.0))
    assert [made.note(r) for r in made.rows] == ["", "int8 is slower than float32 here" * noted]
    read = Shelf.read(tmp_path)
    assert read.rows == made.rows and made.as_json(read.rows[1])["note"] == made.note(made.rows[1])


def test_labels_of_marks_do_not_cover_each_other(tmp_path: Path) -> None:
    rows = [row(f"column{k}", t, ms=1 + k / 100) for k in (1, 2) for t in ("onnx", "pt2", "aoti")]
    write_shelf_page(shelf(tmp_path, *rows, row("whole", ms=30.0)), {}, {})
    page = (tmp_path / "shelf.html").read_text()
    labels = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" font-size="11"[^>]*>(\w+)<', page)
    places = sorted((float(y), float(x), float(x) + 5.5 * len(name)) for x, y, name in labels)
    assert "whole" in {name for *_, name in labels} and len(labels) >= 2
    assert all(
        end < start or other - line > 10
        for (line, _, end), (other, start, _) in itertools.pairwise(places)
        if other == line
    )
