"""Pictures: the text that Graphviz gets, the geometry in it, and the files that come out.

``UPDATE_GOLDEN=1 pytest tests/test_render.py`` writes the golden text anew; look at the picture before you commit it.
"""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal_dsl import dot_to_picture
from fractal_dsl.diagnostics import UserError
from fractal_dsl.dot_to_picture import draw
from fractal_dsl.driver import Compiled, compile_text
from fractal_dsl.graph_to_dot import graph_to_dot, style
from fractal_dsl.ops import LAYERS

GOLDEN = Path(__file__).parent / "golden" / "render"
CONV = "layer conv(c: int = 4) = conv2d(c, 3, padding=1, bias=false) >> dropout2d(0%) >> batchnorm2d >> relu\n"
FRACTAL = "rule F(c: int = 4) join mean { F[1] = conv(c)  F[n+1] = F[n] >> F[n] | conv(c) }\n"
SIZE = 0.02  # coordinates are written with two digits


def net(body: str, declared: str = CONV + FRACTAL, output: str = "f32[4, 8, 8]") -> Compiled:
    return compile_text(f"{declared}net N(image: f32[4, 8, 8]) -> {output} = {body}")


def fractal(columns: int, blocks: int, pool: str = "maxpool2d(1)") -> Compiled:
    return net(f"F[{columns}].each({pool}) ** {blocks} >> flatten >> linear(10)", output="f32[10]")


@dataclass(frozen=True)
class Box:
    name: str
    kind: str
    label: str
    left: float
    top: float
    right: float
    bottom: float


@dataclass
class Picture:
    """What a DOT text says: boxes by node, clusters, edges as points; y runs upwards, so ``top > bottom``."""

    boxes: dict[str, Box]
    clusters: dict[str, Box]
    edges: list[tuple[str, str, list[tuple[float, float]]]]

    def column(self, node: str) -> int | None:
        found = re.search(r"column(\d+)", self.boxes[node].name)
        return int(found[1]) if found else None

    def into(self, node: str) -> list[str]:
        return [source for source, target, _ in self.edges if target == node]


def read(dot: str) -> Picture:
    picture = Picture({}, {}, [])
    cluster = ""
    for line in dot.splitlines():
        line = line.strip()
        a = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', line))
        if found := re.match(r"subgraph (cluster_\w+)", line):
            cluster = found[1]
        elif line.startswith("graph") and "lp" in a:
            left, bottom, right, top = map(float, a["bb"].split(","))
            picture.clusters[cluster] = Box(cluster, "cluster", a["label"], left, top, right, bottom)
        elif found := re.match(r"(n\d+) -> (n\d+) ", line):
            points = [tuple(map(float, p.split(","))) for p in a["pos"].split() if not p.startswith("e,")]
            tip = re.match(r"e,([\d.-]+),([\d.-]+) ", a["pos"])
            points += [(float(tip[1]), float(tip[2]))] if tip else []
            picture.edges.append((found[1], found[2], points))  # type: ignore[arg-type]
        elif found := re.match(r"(n\d+) \[", line):
            (x, y), w, h = map(float, a["pos"].split(",")), float(a["width"]) * 36, float(a["height"]) * 36
            picture.boxes[found[1]] = Box(a.get("id", ""), a["class"], a["label"], x - w, y + h, x + w, y - h)
    return picture


def check_geometry(picture: Picture) -> None:
    """Nothing overlaps; lines start and end at their boxes, run down or across, and pass through no other box."""
    boxes = sorted(picture.boxes.items(), key=lambda item: -item[1].top)
    for i, (name, box) in enumerate(boxes):
        for other, low in boxes[i + 1 :]:
            if low.top <= box.bottom + SIZE:
                break
            assert low.right < box.left + SIZE or box.right < low.left + SIZE, f"{name} and {other} overlap"
    for cluster in picture.clusters.values():
        for other in (*picture.clusters.values(), *picture.boxes.values()):
            apart = (
                other.left >= cluster.right
                or other.right <= cluster.left
                or other.bottom >= cluster.top
                or other.top <= cluster.bottom
            )
            assert other is cluster or apart or inside(other, cluster) or inside(cluster, other), (
                f"{cluster} cuts {other}"
            )
    for source, target, points in picture.edges:
        above, below = picture.boxes[source], picture.boxes[target]
        (x, y), (end_x, end_y) = points[0], points[-1]
        assert above.left - SIZE <= x <= above.right + SIZE and abs(y - above.bottom) < SIZE
        assert below.left - SIZE <= end_x <= below.right + SIZE and abs(end_y - below.top) < SIZE
        assert all(b[1] <= a[1] + SIZE for a, b in pairwise(points)), f"{source} -> {target} runs upwards"
        for (x0, y0), (x1, y1) in pairwise(points):
            for name, box in boxes:
                free = (
                    max(x0, x1) <= box.left + SIZE
                    or min(x0, x1) >= box.right - SIZE
                    or max(y0, y1) <= box.bottom + SIZE
                    or min(y0, y1) >= box.top - SIZE
                )
                assert free, f"{source} -> {target} passes through {name}"


def inside(box: Box, other: Box) -> bool:
    across = other.left < box.left and box.right < other.right
    return across and other.bottom < box.bottom and box.top < other.top


def check_lanes(picture: Picture, columns: int) -> None:
    """A column has one x in the whole net, growing with its number; a bar spans just the columns it merges."""
    lanes: dict[int, set[tuple[float, float]]] = defaultdict(set)
    for node, box in picture.boxes.items():
        if box.kind.startswith("layer") and (column := picture.column(node)):
            lanes[column].add((round(box.left, 1), round(box.right, 1)))
    assert sorted(lanes) == list(range(1, columns + 1))
    assert all(len(lane) == 1 for lane in lanes.values()), "a lane is not straight"
    edges = {column: lane.pop() for column, lane in lanes.items()}
    assert all(edges[k][1] < edges[k + 1][0] for k in range(1, columns))
    for node, box in picture.boxes.items():
        if box.kind == "join":
            merged = [picture.column(source) for source in picture.into(node)]
            assert merged and None not in merged
            assert box.left == pytest.approx(edges[min(m for m in merged if m)][0], abs=0.1)
            assert box.right == pytest.approx(edges[max(m for m in merged if m)][1], abs=0.1)
            for source, target, points in picture.edges:
                if target == node:
                    assert len({round(x, 1) for x, _ in points}) == 1, f"{source} -> {target} is not straight"


def test_the_text_for_a_block_of_the_paper() -> None:
    dot = graph_to_dot(fractal(3, 1).graph)
    assert dot == graph_to_dot(fractal(3, 1).graph)
    golden = GOLDEN / "f3.dot"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(dot, encoding="utf-8")
    assert dot == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("blocks", range(1, 9))
@pytest.mark.parametrize("columns", range(1, 7))
def test_lanes_are_straight_and_bars_span_their_columns(columns: int, blocks: int) -> None:
    picture = read(graph_to_dot(fractal(columns, blocks).graph))
    kinds = [box.kind for box in picture.boxes.values()]
    assert kinds.count("layer conv") == blocks * (2**columns - 1)
    assert kinds.count("join") == blocks * (2 ** (columns - 2) if columns > 1 else 0)
    assert len(picture.clusters) == blocks
    check_lanes(picture, columns)
    if blocks <= 2:
        check_geometry(picture)


def test_pools_before_a_join_stand_in_one_row_and_lone_layers_in_the_middle() -> None:
    boxes = read(graph_to_dot(fractal(4, 1).graph)).boxes.values()
    assert len({box.top for box in boxes if box.kind == "layer pool"}) == 1
    (alone,) = [box for box in boxes if box.kind == "layer conv" and ".column1." in box.name]
    convs = [box for box in boxes if box.kind == "layer conv"]
    middle = (max(b.top for b in convs) + min(b.bottom for b in convs)) / 2
    assert (alone.top + alone.bottom) / 2 == pytest.approx(middle, abs=0.1)


def test_blocks_have_a_name_and_the_shapes_at_their_edges() -> None:
    dot = graph_to_dot(net("F[2](8) >> maxpool2d(2) >> F[2](16)", output="f32[16, 4, 4]").graph)
    assert [c.label for c in read(dot).clusters.values()] == ["block 1 · F[2]", "block 2 · F[2]"]
    assert re.findall(r'headlabel="(.*?)"', dot) == ["4×8×8", "8×4×4"]
    assert re.findall(r'taillabel="(.*?)"', dot) == ["8×8×8", "16×4×4"]


def test_before_collapse_every_join_is_drawn() -> None:
    picture = read(graph_to_dot(fractal(4, 1).raw))
    joins = [node for node, box in picture.boxes.items() if box.kind == "join"]
    assert len(joins) == 7 and all(len(picture.into(node)) == 2 for node in joins)
    check_geometry(picture)


def test_a_column_alone_is_a_chain() -> None:
    picture = read(graph_to_dot(fractal(3, 2).column(2)))
    assert all(len(picture.into(node)) <= 1 for node in picture.boxes)
    assert [box.kind for box in picture.boxes.values()].count("layer conv") == 4


ODD = {
    "plain": (CONV, "conv ** 3 >> relu >> conv"),
    "residual": (CONV + "layer res = sum(id, conv >> conv) >> relu\n", "res >> res >> conv"),
    "dense": (CONV, "concat(id, concat(id, conv) >> conv) >> concat(id, conv) >> conv"),
    "inception": (CONV, "concat(conv, conv >> conv, maxpool2d(3, 1, 1) >> conv, id) >> conv"),
    "u-net": (CONV, "sum(id, maxpool2d(2) >> sum(id, maxpool2d(2) >> conv >> upsample(2)) >> upsample(2))"),
    "a join of blocks": (CONV + FRACTAL, "sum(F[3], F[1], id) >> sum(id, F[2] >> F[3])"),
    "residual base layers": (
        "layer res = sum(id, conv2d(4, 3, padding=1)) >> relu\n"
        "rule F join mean { F[1] = res F[n+1] = F[n] >> F[n] | res }\n",
        "F[3] >> sum(id, F[2]) >> F[1] >> F[3]",
    ),
    "a stage around a block": (CONV + FRACTAL + "layer stage = conv >> F[3] >> relu\n", "stage >> stage"),
    "asymmetric": (
        CONV + "rule F join sum { F[1] = conv F[n+1] = F[n] >> conv | conv >> relu >> conv | id }\n"
        "rule G join mean { G[1] = conv G[n+1] = G[n] >> G[n] >> G[n] | conv >> conv }\n",
        "F[4] >> G[2] >> G[3] >> F[1] >> F[2].each(relu >> maxpool2d(1))",
    ),
    "joins inside columns": (
        CONV + "rule H join mean { H[1] = sum(id, conv2d(4, 1)) H[n+1] = sum(id, H[n]) >> H[n] | conv }\n",
        "H[4] >> conv",
    ),
    "a join with processing": (
        CONV + "join squash = concat >> conv2d(4, 1)\n"
        "rule F join squash { F[1] = conv F[n+1] = F[n] >> F[n] | conv }\n",
        "F[3] >> F[2]",
    ),
}


@pytest.mark.parametrize("case", ODD)
@pytest.mark.parametrize("stage", ["raw", "collapsed", "graph"])
def test_whatever_the_language_says_comes_out_sane(case: str, stage: str) -> None:
    declared, body = ODD[case]
    check_geometry(read(graph_to_dot(getattr(net(body, declared), stage))))


def blocks(*leaves: str) -> st.SearchStrategy[str]:
    def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        series = st.lists(inner, min_size=2, max_size=3).map(" >> ".join)
        merged = st.lists(inner, min_size=2, max_size=3).map(lambda b: f"sum({', '.join(b)})")
        return series | merged

    return st.recursive(st.sampled_from(leaves), larger, max_leaves=6)


@settings(max_examples=40)
@given(
    st.lists(blocks("conv", "F[n]", "relu", "id"), min_size=1, max_size=3),
    blocks("conv", "F[3]", "F[2]", "F[2].each(relu)", "stage", "id"),
)
def test_no_net_is_drawn_with_overlaps(columns: list[str], body: str) -> None:
    rule = f"rule F join mean {{ F[1] = conv F[n+1] = {' | '.join(columns)} }}\n"
    compiled = net(body, CONV + rule + "layer stage = relu >> F[2]\n")
    for graph in (compiled.raw, compiled.graph):
        try:
            dot = graph_to_dot(graph)
        except UserError as error:
            assert "the limit is 2,000" in str(error)
        else:
            check_geometry(read(dot))


def test_a_picture_of_too_many_boxes_is_refused() -> None:
    with pytest.raises(UserError, match=r"2,\d+ boxes and bars; the limit is 2,000.*-p columns"):
        graph_to_dot(fractal(9, 4).graph)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a: str, b: str) -> float:
    low, high = sorted([luminance(a), luminance(b)])
    return (high + 0.05) / (low + 0.05)


def test_every_family_has_colours_that_can_be_read() -> None:
    assert {spec.family for spec in LAYERS.values()} <= set(style.FAMILIES)
    for fill, outline in style.FAMILIES.values():
        assert contrast(fill, style.TEXT) >= 7 and contrast(outline, style.PAPER) >= 3
    for fill, _ in style.FRAME.values():
        assert contrast(fill, style.MUTED) >= 4.5


# --- files

SVG = "{http://www.w3.org/2000/svg}"
needs_graphviz = pytest.mark.skipif(
    dot_to_picture.shutil.which("dot") is None and dot_to_picture.importlib.util.find_spec("pygraphviz") is None,
    reason="neither the dot program nor the pygraphviz wheel is there",
)


@needs_graphviz
def test_the_svg_has_the_lanes_and_bars_of_the_text(tmp_path: Path) -> None:
    dot = graph_to_dot(fractal(3, 2).graph)
    draw(dot, tmp_path / "n.svg")
    root = ET.parse(tmp_path / "n.svg").getroot()
    drawn: dict[str, tuple[float, float]] = {}
    for group in root.iter(f"{SVG}g"):
        shape = (
            group.find(f".//{SVG}path") if group.find(f".//{SVG}polygon") is None else group.find(f".//{SVG}polygon")
        )
        if "node" in group.get("class", "").split() and shape is not None:
            numbers = [float(x) for x in re.findall(r"-?\d+(?:\.\d+)?", shape.get("points") or shape.get("d") or "")]
            drawn[group.get("id", "")] = (min(numbers[::2]), max(numbers[::2]))
    boxes = {box.name: box for box in read(dot).boxes.values()}
    assert drawn.keys() == boxes.keys()
    shift = drawn["output"][0] - boxes["output"].left
    for name, (left, right) in drawn.items():
        assert left == pytest.approx(boxes[name].left + shift, abs=0.5)
        assert right == pytest.approx(boxes[name].right + shift, abs=0.5)


@needs_graphviz
@pytest.mark.parametrize(("suffix", "magic"), [(".svg", b"<?xml"), (".PNG", b"\x89PNG"), (".pdf", b"%PDF")])
def test_each_format_is_what_its_name_says(suffix: str, magic: bytes, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"net{suffix}"
    draw(graph_to_dot(fractal(2, 1).graph), path)
    assert path.read_bytes().startswith(magic)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.fixture
def without_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(dot_to_picture.importlib.util, "find_spec", lambda name: None)


@pytest.mark.usefixtures("without_graphviz")
def test_without_graphviz_there_is_a_hint_and_the_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"apt-get install graphviz.*pip install \"fractal-dsl\[draw\]\""):
        draw("digraph {}", tmp_path / "n.svg")
    draw("digraph {}", tmp_path / "n.dot")
    assert [p.name for p in tmp_path.iterdir()] == ["n.dot"]
    assert (tmp_path / "n.dot").read_text() == "digraph {}"


def fake_dot(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program ``dot``, found before any other."""
    folder.mkdir()
    program = folder / "dot"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exec sleep 30", r"took over 0\.2 seconds.*-p columns=4"),
        ("echo 'Error: syntax error' >&2; exit 1", "dot says: Error: syntax error"),
        ("exit 3", "exit code 3"),
        ("exit 0", "wrote nothing"),
    ],
)
def test_what_goes_wrong_in_graphviz_is_told_and_leaves_nothing(
    script: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_dot(tmp_path / "bin", script, monkeypatch)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=message):
        draw("digraph {}", tmp_path / "out" / "n.svg", timeout=0.2 if "sleep" in script else 20)
    assert not list((tmp_path / "out").iterdir())


def test_an_unknown_format_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.svg, \.png, \.pdf, \.dot"):
        draw("digraph {}", tmp_path / "n.jpg")


def test_a_png_too_large_to_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"2000 inches .* write .*n\.svg"):
        draw('digraph { graph [bb="0,0,720,144000"] }', tmp_path / "n.png")


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        draw("digraph {}", tmp_path / "file" / "n.dot")


def test_drawing_loads_neither_torch_nor_graphviz() -> None:
    code = (
        "import sys; from fractal_dsl.driver import compile_text; from fractal_dsl.graph_to_dot import graph_to_dot; "
        "import fractal_dsl.dot_to_picture; "
        "print(len(graph_to_dot(compile_text('net N(x: f32[4]) -> f32[2] = linear(2)').graph)) > 0, "
        "sorted({'torch', 'pygraphviz'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True []\n"
