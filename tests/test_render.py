"""Pictures: the text that Graphviz gets, the geometry in it, and the files that come out.

``UPDATE_GOLDEN=1 pytest tests/test_render.py`` writes the golden text anew; look at the picture before you commit it.
"""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.manifest import write_manifest
from fractal_dsl.cli.app import app
from fractal_dsl.compiled import Compiled
from fractal_dsl.graph.graph import JoinGraph
from fractal_dsl.ops import LAYERS
from fractal_dsl.picture import dot_to_picture
from fractal_dsl.picture import graph_to_dot as graph_to_dot_module
from fractal_dsl.picture.dot_to_picture import draw
from fractal_dsl.picture.graph_to_dot import (
    DARK,
    LIGHT,
    Look,
    Opening,
    cost_heat,
    figure_to_dot,
    graph_to_dot,
    graph_to_page,
    plans_to_dot,
    rule_to_dot,
    style,
    units,
)
from fractal_dsl.picture.shown import Shown
from fractal_dsl.pipeline import compile_file, compile_text
from fractal_dsl.plans.plan_on_graph import needed, plan_of_spec
from fractal_dsl.stored.kinds import RUN_FORMAT
from fractal_dsl.stored.manifests import RUN_VERSION

GOLDEN = Path(__file__).parent / "golden" / "render"
CONV = "layer conv(c: int = 4) = conv2d(c, 3, padding=1, bias=false) >> dropout2d(0%) >> batchnorm2d >> relu\n"
FRACTAL = "rule F(c: int = 4) join mean { F[1] = conv(c)  F[n+1] = F[n] >> F[n] | conv(c) }\n"
SIZE = 0.02  # coordinates are written with two digits
TALL = Look(strips=1, legend=False)


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

    def width(self) -> float:
        return max(b.right for b in self.boxes.values()) - min(b.left for b in self.boxes.values())

    def height(self) -> float:
        return max(b.top for b in self.boxes.values()) - min(b.bottom for b in self.boxes.values())

    def into(self, node: str) -> list[str]:
        return [source for source, target, _ in self.edges if target == node]


def attributes(line: str) -> dict[str, str]:
    """The attributes in a line of DOT; graphviz quotes only values that need it."""
    found = re.findall(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s"\]]+))', line)
    return {key: quoted or bare for key, quoted, bare in found}


def fills_of(dot: str) -> dict[str, str]:
    """The colour of each box with a name."""
    return {a["id"]: a["fillcolor"] for a in map(attributes, dot.splitlines()) if "id" in a}


def read(dot: str) -> Picture:
    picture = Picture({}, {}, [])
    cluster = ""
    for line in dot.splitlines():
        line = line.strip()
        a = attributes(line)
        if found := re.match(r"subgraph (cluster_\w+)", line):
            cluster = found[1]
        elif line.startswith("bb=") and "lp" in a:
            left, bottom, right, top = map(float, a["bb"].split(","))
            picture.clusters[cluster] = Box(cluster, "cluster", a["label"], left, top, right, bottom)
        elif found := re.match(r"(\w+) -> (\w+) ", line):
            points = [tuple(map(float, p.split(","))) for p in a["pos"].split() if not p.startswith("e,")]
            tip = re.match(r"e,([\d.-]+),([\d.-]+) ", a["pos"])
            points += [(float(tip[1]), float(tip[2]))] if tip else []
            picture.edges.append((found[1], found[2], points))  # type: ignore[arg-type]
        elif found := re.match(r"((?:p\d+)?(?:n\d+|input|output)) \[", line):
            (x, y), w, h = map(float, a["pos"].split(",")), float(a["width"]) * 36, float(a["height"]) * 36
            picture.boxes[found[1]] = Box(a.get("id", ""), a["class"], a["label"], x - w, y + h, x + w, y - h)
    return picture


def check_geometry(picture: Picture, *, wrapped: bool = False, returning: bool = False) -> None:
    """Nothing overlaps; lines start and end at their boxes, run down or across, and pass through no other box.

    Only from one strip of a ``wrapped`` net to the next do they run upwards, and in a net that is drawn
    ``returning``, the decoder on the right of the encoder.
    """
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
        if returning:
            assert touches(above, x, y) and touches(below, end_x, end_y)
        else:
            assert above.left - SIZE <= x <= above.right + SIZE and abs(y - above.bottom) < SIZE
            assert below.left - SIZE <= end_x <= below.right + SIZE and abs(end_y - below.top) < SIZE
        upwards = not returning and any(b[1] > a[1] + SIZE for a, b in pairwise(points))
        assert not upwards or (wrapped and x < end_x), f"{source} -> {target} runs upwards"
        for (x0, y0), (x1, y1) in pairwise(points):
            for name, box in boxes:
                free = (
                    max(x0, x1) <= box.left + SIZE
                    or min(x0, x1) >= box.right - SIZE
                    or max(y0, y1) <= box.bottom + SIZE
                    or min(y0, y1) >= box.top - SIZE
                )
                assert free, f"{source} -> {target} passes through {name}"


def touches(box: Box, x: float, y: float) -> bool:
    """Whether a point lies on the edge of a box."""
    within = box.left - SIZE <= x <= box.right + SIZE and box.bottom - SIZE <= y <= box.top + SIZE
    return within and min(abs(x - box.left), abs(x - box.right), abs(y - box.top), abs(y - box.bottom)) < SIZE


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


LANES = [
    pytest.param(columns, blocks, marks=[pytest.mark.slow] if columns > 4 and 2 < blocks < 8 else [])
    for columns in range(1, 7)
    for blocks in range(1, 9)
]


@pytest.mark.parametrize(("columns", "blocks"), LANES)
def test_lanes_are_straight_and_bars_span_their_columns(columns: int, blocks: int) -> None:
    picture = read(graph_to_dot(fractal(columns, blocks).graph, TALL))
    kinds = [box.kind for box in picture.boxes.values()]
    assert kinds.count("layer conv") == blocks * (2**columns - 1)
    assert kinds.count("join") == blocks * (2 ** (columns - 2) if columns > 1 else 0)
    assert len(picture.clusters) == blocks
    check_lanes(picture, columns)
    if blocks <= 2:
        check_geometry(picture)


@pytest.mark.parametrize(("columns", "blocks"), [(1, 8), (2, 8), (3, 5), (4, 4), (6, 2)])
def test_a_net_in_strips_fits_a_page_and_keeps_its_lanes(columns: int, blocks: int) -> None:
    graph = fractal(columns, blocks).graph
    picture, tall = read(graph_to_dot(graph)), read(graph_to_dot(graph, TALL))
    check_geometry(picture, wrapped=True)
    assert picture.height() < 0.75 * tall.height() and 0.4 < picture.width() / picture.height() < 3
    blocks_of = {box.name.partition(".")[0]: [] for box in picture.boxes.values() if box.name.startswith("block")}
    for box in picture.boxes.values():
        if box.name.startswith("block"):
            frame = picture.clusters[f"cluster_{box.name.partition('.')[0]}"]
            blocks_of[box.name.partition(".")[0]].append((box.left - frame.left, frame.top - box.top))
    first, *others = ([(round(x, 1), round(y, 1)) for x, y in boxes] for boxes in blocks_of.values())
    assert all(other == first for other in others), "a block is laid out in another way than the one before it"


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
    picture = read(graph_to_dot(fractal(4, 1).raw, TALL))
    joins = [node for node, box in picture.boxes.items() if box.kind == "join"]
    assert len(joins) == 7 and all(len(picture.into(node)) == 2 for node in joins)
    check_geometry(picture)


def test_a_column_alone_is_a_chain() -> None:
    picture = read(graph_to_dot(fractal(3, 2).column(2), Look(runs=False)))
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
    check_geometry(read(graph_to_dot(getattr(net(body, declared), stage), TALL)))


@pytest.mark.parametrize("case", ODD)
def test_whatever_the_language_says_can_be_looked_at_in_every_way(case: str) -> None:
    declared, body = ODD[case]
    compiled = net(body, declared)
    for graph in (compiled.raw, compiled.graph):
        for look in (
            Look(),
            Look(opening=Opening(0)),
            Look(opening=Opening(1), theme=DARK),
            Look(label="shape", heat=cost_heat(graph, "macs"), strips=3),
            Look(runs=False, strips=2),
        ):
            returning = case == "u-net" and look.strips is None
            check_geometry(read(graph_to_dot(graph, look)), wrapped=True, returning=returning)
    for spec in ("local:1", "column:1", "full"):
        plan = plan_of_spec(spec, compiled.graph)
        assert len(read(plans_to_dot(compiled.graph, [("", plan)], TALL)).boxes) > 1
        dot, data = graph_to_page(compiled.graph, Look(), [(spec, plan)])
        assert len(data["edges"]) == len(read(dot).edges) and data["plans"][0]["name"] == spec
    if compiled.graph.joins():
        check_geometry(read(rule_to_dot(compiled.program)))
        check_geometry(read(figure_to_dot(compiled.program, compiled.graph, Look())))


U_NET = """
layer conv(c: int = 4) = conv2d(c, 3, padding=1) >> relu
layer res(c: int = 4) = sum(project(c), conv(c) >> conv(c)) >> relu
rule U(c: int) {
    U[1] = %s(c) ** 2
    U[n+1] = %s(c) ** 2 >> concat(id, maxpool2d(2) >> U[n](2 * c) >> upsample(2) >> conv(c)) >> %s(c)
}
net N(image: f32[1, 32, 32]) -> f32[2, 32, 32] = relu >> U[4](2) >> conv2d(2, 1) >> relu
"""


@pytest.mark.parametrize("layer", ["conv", "res"])
@pytest.mark.parametrize("label", ["none", "shape"])
def test_a_decoder_stands_beside_its_encoder(layer: str, label: str) -> None:
    graph = compile_text(U_NET.replace("%s", layer)).graph
    picture = read(graph_to_dot(graph, Look(label=label)))  # type: ignore[arg-type]
    check_geometry(picture, returning=True)
    joins = [node for node, box in picture.boxes.items() if box.label == "concat"]
    assert len(joins) == 3
    height = {node: (picture.boxes[node].top + picture.boxes[node].bottom) / 2 for node in joins}
    for node in joins:
        (skip,) = [s for s in picture.into(node) if picture.boxes[s].kind == "skip"]
        (line,) = [points for source, target, points in picture.edges if (source, target) == (skip, node)]
        assert {round(y, 2) for _, y in line} == {round(height[node], 2)}, "what is handed on does not run across"
        assert picture.boxes[skip].right < picture.boxes[node].left
    assert len({round(picture.boxes[node].left, 2) for node in joins}) == 1
    start, end = picture.boxes["n0"], next(b for b in picture.boxes.values() if b.kind == "output")
    assert start.right < end.left and max(b.top for b in picture.boxes.values()) == pytest.approx(end.top)
    assert picture.width() / picture.height() > 0.3
    check_geometry(read(graph_to_dot(graph, TALL)))


def test_a_net_with_one_way_around_is_no_decoder() -> None:
    graph = net("sum(id, maxpool2d(2) >> conv >> upsample(2)) >> conv", CONV).graph
    check_geometry(read(graph_to_dot(graph)))


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
            dot = graph_to_dot(graph, TALL)
        except UserError as error:
            assert "the limit is 2,000" in str(error)
        else:
            check_geometry(read(dot))


def test_a_picture_of_too_many_boxes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "MAX_UNITS", 50)
    whole = Look(opening=Opening(depth=9))
    with pytest.raises(UserError, match=r"\d+ boxes and bars; the limit is 50\. .*--depth 1.*-p columns"):
        graph_to_dot(fractal(4, 4).graph, whole)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a: str, b: str) -> float:
    low, high = sorted([luminance(a), luminance(b)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("theme", "readable"), [(LIGHT, 7), (DARK, 4.5)])
def test_every_family_has_colours_that_can_be_read(theme: style.Theme, readable: float) -> None:
    assert {spec.family for spec in LAYERS.values()} <= set(theme.families)
    for fill, outline in theme.families.values():
        assert contrast(fill, theme.text) >= readable and contrast(outline, theme.paper) >= 3
    for fill, outline in theme.frames.values():
        assert contrast(fill, theme.muted) >= 4.5 and contrast(outline, fill) >= 2.5
    assert contrast(theme.bar, theme.on_bar) >= 7 and contrast(theme.live, theme.paper) >= 10
    lightness = [luminance(fill) for fill, _ in theme.ramp]
    assert lightness == sorted(lightness, reverse=theme is LIGHT)
    for fill, text in theme.ramp:
        assert contrast(fill, text) >= 4.5
    line, fill, text = theme.dropped
    assert contrast(line, theme.paper) < contrast(theme.line, theme.paper) / 2 and contrast(text, fill) >= 3


def test_no_colour_of_the_light_theme_becomes_two_of_the_dark_one() -> None:
    changes: dict[str, set[str]] = defaultdict(set)
    for light, dark in zip(LIGHT.colours(), DARK.colours(), strict=True):
        changes[light].add(dark)
    assert [light for light, dark in changes.items() if len(dark) > 1] == []


# --- views


def test_the_rule_is_drawn_as_it_is_written() -> None:
    picture = read(rule_to_dot(fractal(4, 2).program, TALL))
    labels = [box.label for node, box in picture.boxes.items() if node.startswith("p2")]
    assert labels == ["z", "conv 3×3", "F[n]", "F[n]", "", "F[n+1](z)"]
    conv, deep = (picture.boxes[f"p2n{i}"] for i in (1, 2))
    assert conv.label == "conv 3×3" and deep.label == "F[n]" and conv.right < deep.left
    assert [box.label for node, box in picture.boxes.items() if node.startswith("p1")] == ["z", "conv 3×3", "F[1](z)"]
    check_geometry(picture)
    with pytest.raises(UserError, match="net N has no rule: draw it with"):
        rule_to_dot(net("conv").program)
    with pytest.raises(UserError, match="net N has no rule G: its rules are F"):
        rule_to_dot(fractal(2, 1).program, rule="G")


@pytest.mark.parametrize("columns", range(1, 7))
def test_a_block_alone_has_its_lanes_before_and_after_collapse(columns: int) -> None:
    compiled = fractal(columns, 3)
    block = read(graph_to_dot(compiled.graph, TALL, block=2))
    check_geometry(block)
    check_lanes(block, columns)
    assert {box.name.partition(".")[0] for box in block.boxes.values()} == {"input", "block2", "output"}
    raw = read(graph_to_dot(compiled.raw, TALL, block=2))
    check_geometry(raw)
    joins = [node for node, box in raw.boxes.items() if box.kind == "join"]
    assert all(len(raw.into(node)) == 2 for node in joins) and len(joins) == 2 ** (columns - 1) - 1


def test_a_block_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="there is no block 3: net N has blocks 1 to 2"):
        graph_to_dot(fractal(2, 2).graph, block=3)
    with pytest.raises(UserError, match="net N has no blocks, since it uses no rule"):
        graph_to_dot(net("conv >> conv").graph, block=1)


def test_the_figure_has_rule_block_and_net_side_by_side() -> None:
    compiled = fractal(4, 3)
    picture = read(figure_to_dot(compiled.program, compiled.graph, TALL))
    check_geometry(picture)
    spans = [
        (min(b.left for b in part), max(b.right for b in part))
        for part in ([b for n, b in picture.boxes.items() if n.startswith(f"p{i}")] for i in (1, 2, 3))
    ]
    assert all(a[1] < b[0] for a, b in pairwise(spans))
    assert [b.label for n, b in picture.boxes.items() if n.startswith("p3")][1:4] == [
        f"block {i} · F[4]" for i in (1, 2, 3)
    ]


# --- plans


@pytest.mark.parametrize("spec", ["column:1", "column:3", "local:1", "local:5", "full"])
def test_a_plan_greys_just_what_it_does_not_need(spec: str) -> None:
    graph = fractal(3, 2).graph
    plan = plan_of_spec(spec, graph)
    dot = graph_to_dot(graph, TALL, plan=plan)
    picture, used = read(dot), needed(graph, plan)
    for node, box in picture.boxes.items():
        assert ("dropped" in box.kind) == (int(node[1:]) not in used), node
    live = dict(zip((n for n, _ in graph.joins()), plan.live, strict=True))
    classes = re.findall(r"n(\d+) -> n(\d+) \[.*?class=(\w+)", dot)
    assert len(classes) == len(picture.edges)
    for source, target, kind in ((int(a), int(b), c) for a, b, c in classes):
        on = dict(zip(graph.operands(target), live[target], strict=True)) if target in live else {}
        reached = source in used and target in used and on.get(source, True)
        assert (kind == "live") == reached, f"{source} -> {target}"


def test_a_dropped_line_lies_on_no_live_one() -> None:
    """Graphviz draws the lines out of a box in an order of its own."""
    graph = fractal(4, 2).graph
    for spec in ("column:1", "column:2", "local:3"):
        dot = graph_to_dot(graph, TALL, plan=plan_of_spec(spec, graph))
        picture = read(dot)
        kinds = re.findall(r"n\d+ -> n\d+ \[.*?class=(\w+)", dot)
        pieces: dict[str, list[tuple[tuple[float, float], ...]]] = defaultdict(list)
        for kind, (_, _, points) in zip(kinds, picture.edges, strict=True):
            pieces[kind] += [tuple(sorted(pair)) for pair in pairwise(points) if pair[0] != pair[1]]
        for (x0, y0), (x1, y1) in pieces["dropped"]:
            for (u0, v0), (u1, v1) in pieces["live"]:
                upright = x0 == x1 == u0 == u1 and min(y1, v1) - max(y0, v0) > 6
                level = y0 == y1 == v0 == v1 and min(x1, u1) - max(x0, u0) > 6
                assert not (upright or level), f"{spec}: {(x0, y0)} to {(x1, y1)}"


def test_a_strip_of_plans_has_one_panel_for_each() -> None:
    graph = fractal(3, 2).graph
    plans = [(spec, plan_of_spec(spec, graph)) for spec in ("full", "local:1", "column:2")]
    dot = plans_to_dot(graph, plans, TALL)
    picture = read(dot)
    assert re.findall(r'p\d+title \[.*?label="(.*?)\\l"', dot) == ["full", "local:1", "column:2"]
    for node, box in picture.boxes.items():
        panel, number = re.fullmatch(r"p(\d)n(\d+)", node).groups()  # type: ignore[union-attr]
        used = needed(graph, plans[int(panel) - 1][1])
        assert ("dropped" in box.kind) == (int(number) not in used)
        assert box.label == "" or not box.kind.startswith("layer")


def test_a_strip_of_too_many_boxes_is_refused() -> None:
    graph = fractal(6, 5).graph
    plans = [(f"local:{i}", plan_of_spec(f"local:{i}", graph)) for i in range(7)]
    with pytest.raises(UserError, match=r"the limit is 2,000.*--view block"):
        plans_to_dot(graph, plans, TALL)


# --- folding


RES = CONV + "layer res = sum(id, conv >> conv) >> relu\nlayer stage = res ** 3 >> conv\n"


def labels(dot: str) -> list[str]:
    return [box.label for box in read(dot).boxes.values()]


def test_alike_parts_in_a_row_are_drawn_once_with_their_count() -> None:
    dot = graph_to_dot(net("res ** 5 >> conv ** 2 >> relu >> conv(8)", RES, output="f32[8, 8, 8]").graph, TALL)
    picture = read(dot)
    assert [cluster.label for cluster in picture.clusters.values()] == ["res ×5"]
    assert [label for label in labels(dot) if "conv" in label] == ["conv 3×3 ×2", "conv 3×3 ×2", "conv 3×3"]
    ten = next(line for line in dot.splitlines() if 'label="conv 3×3 ×2"' in line)
    assert "1,520 parameters" in ten and "92,160 MACs" in ten  # five times two of 152 and 9,216


def test_parts_that_differ_in_an_argument_are_not_alike() -> None:
    dot = graph_to_dot(net("conv >> conv(8) >> conv(8) >> conv(4)", CONV).graph, TALL)
    assert [label for label in labels(dot) if "conv" in label] == ["conv 3×3", "conv 3×3 ×2", "conv 3×3"]


def test_layers_of_columns_stand_side_by_side_and_are_never_merged() -> None:
    assert not any("×2" in label for label in labels(graph_to_dot(fractal(5, 1, "relu").graph, TALL)))


@pytest.mark.parametrize(
    ("opening", "expected"),
    [
        (Opening(0), ["image", "stage ×2", "block 1 · F[2]", "output"]),
        (Opening(1), ["image", "res ×3", "conv 3×3", "conv 3×3", "conv 3×3", "conv 3×3", "output"]),
        (Opening(None, frozenset({"stage"})), ["image", "res ×3", "conv 3×3", "block 1 · F[2]", "output"]),
        (Opening(None, frozenset({"F"})), ["image", "stage ×2", "conv 3×3", "conv 3×3", "conv 3×3", "output"]),
        (Opening(None, frozenset({"block 1"})), ["image", "stage ×2", "conv 3×3", "conv 3×3", "conv 3×3", "output"]),
    ],
)
def test_parts_open_by_depth_and_by_name(opening: Opening, expected: list[str]) -> None:
    compiled = net("stage ** 2 >> F[2]", RES + FRACTAL)
    dot = graph_to_dot(compiled.graph, Look(strips=1, legend=False, opening=opening))
    assert sorted(x.split("\\n")[0] for x in labels(dot) if x) == sorted(expected)
    check_geometry(read(dot))


def test_a_base_layer_opens_in_its_lane() -> None:
    look = Look(strips=1, legend=False, opening=Opening(None, frozenset({"conv"})))
    picture = read(graph_to_dot(fractal(3, 1).graph, look))
    check_geometry(picture)
    assert [c.label for c in picture.clusters.values()].count("conv") == 7
    assert [b.label for b in picture.boxes.values()].count("batchnorm2d") == 7


def test_a_name_that_opens_nothing_suggests_one_that_does() -> None:
    with pytest.raises(UserError, match=r"nothing in the picture is named 'stagee'.*stage"):
        graph_to_dot(net("stage", RES).graph, Look(opening=Opening(None, frozenset({"stagee"}))))


def test_tags_are_shown() -> None:
    dot = graph_to_dot(
        net(
            '(conv >> relu) @tag("stem") >> res @tag("body") >> F[2] @tag("tail") >> relu @tag("end")', RES + FRACTAL
        ).graph,
        TALL,
    )
    assert [c.label for c in read(dot).clusters.values()] == ["@stem", "res @body", "block 1 · F[2] @tail"]
    assert "relu @end" in labels(dot)


# --- facts


def test_hover_tells_shape_cost_share_and_line(tmp_path: Path) -> None:
    dot = graph_to_dot(fractal(2, 1).graph, TALL)
    (tooltip,) = re.findall(r'tooltip="(block1\.column1\.conv1.*?)"', dot)
    assert tooltip.split("\\n") == [
        "block1.column1.conv1",
        "conv2d(kernel_size=3) >> dropout2d >> batchnorm2d >> relu",
        "4×8×8 → 4×8×8",
        "152 parameters, 5.0% of the net",
        "9,216 MACs, 30.5% of the net",
        "<text>:1: layer conv(c: int = 4) = conv2d(c, 3, padding=1, bias=false) >> dropout2d(0%) >> batchnor…",
    ]


def test_hover_tells_what_a_block_costs() -> None:
    dot = graph_to_dot(fractal(2, 2).graph, TALL)
    (tooltip, _) = re.findall(r'tooltip="(block \d.*?)"', dot)
    assert tooltip.split("\\n") == [
        "block 1 · F[2]",
        "4×8×8 → 4×8×8",
        "456 parameters, 13.1% of the net",
        "27,648 MACs, 47.8% of the net",
    ]


@pytest.mark.parametrize(
    ("label", "lines"),
    [
        ("shape", {"4×8×8", "256", "10"}),
        ("params", {"152 params", "2.57 k params"}),
        ("macs", {"9.22 k MACs", "2.56 k MACs"}),
    ],
)
def test_labels_add_a_line_to_each_box(label: str, lines: set[str]) -> None:
    picture = read(graph_to_dot(fractal(2, 1).graph, Look(label=label, strips=1)))  # type: ignore[arg-type]
    check_geometry(picture)
    boxes = [b.label.split("\\n") for b in picture.boxes.values() if b.kind.startswith("layer")]
    assert {line for _, *second in boxes for line in second} == lines
    heights = {round(b.top - b.bottom, 1) for b in picture.boxes.values() if b.kind.startswith("layer")}
    assert len(heights) == 1


def test_heat_is_darkest_where_the_cost_is_highest() -> None:
    compiled = net("conv(4) >> conv(8) >> conv(16) >> flatten >> linear(3)", output="f32[3]")
    for kind, hottest in (("macs", "conv_3"), ("params", "linear"), ("activation", "conv_3")):
        heat = cost_heat(compiled.graph, kind)  # type: ignore[arg-type]
        dot = graph_to_dot(compiled.graph, Look(heat=heat, strips=1))
        fills = fills_of(dot)
        ramp = [fill for fill, _ in LIGHT.ramp]
        assert fills[hottest] == ramp[-1], kind
        assert ramp.index(fills["conv"]) < len(ramp) - 1
        assert re.search(rf'label="{heat.title}  0\\l"', dot)


def test_the_legend_names_just_the_kinds_that_are_drawn() -> None:
    dot = graph_to_dot(net("conv >> maxpool2d(2) >> F[2]", output="f32[4, 4, 4]").graph)
    assert re.findall(r'legend\d+ \[.*?label="(.+?)\\l"', dot) == [
        "convolution",
        "pooling",
        "join: the mean of its columns",
    ]
    assert "legend" not in graph_to_dot(net("conv").graph, Look(legend=False))


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
        classes = group.get("class", "").split()
        if "node" in classes and "legend" not in classes and shape is not None:
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
    with pytest.raises(UserError, match=r"apt-get install graphviz.*pip install pygraphviz"):
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


def test_drawing_loads_neither_torch_nor_pygraphviz() -> None:
    code = (
        "import sys; from fractal_dsl.pipeline import compile_text; "
        "from fractal_dsl.picture.graph_to_dot import graph_to_dot; "
        "import fractal_dsl.picture.dot_to_picture; "
        "print(len(graph_to_dot(compile_text('net N(x: f32[4]) -> f32[2] = linear(2)').graph)) > 0, "
        "sorted({'torch', 'pygraphviz'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True []\n"


# --- the command


def rendered(tmp_path: Path, *options: str, text: str = "", name: str = "n.dot") -> tuple[str, str]:
    """The picture that ``fractal-dsl render`` writes, and what it prints."""
    spec = tmp_path / "n.frac"
    body = "F[3].each(maxpool2d(2)) >> F[3].each(maxpool2d(2)) >> flatten >> linear(5)"
    declared = "with drop_path(local=50%, global=50%)"
    spec.write_text(text or f"{CONV}{FRACTAL}net N(image: f32[4, 8, 8]) -> f32[5] {declared} = {body}")
    done = CliRunner().invoke(app, ["render", str(spec), "-o", str(tmp_path / name), *options])
    if isinstance(done.exception, UserError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return (tmp_path / name).read_text("utf-8"), done.stdout


@pytest.mark.parametrize(
    "options",
    [
        ["--view", "rule"],
        ["--view", "block", "--block", "2"],
        ["--view", "block", "--stage", "raw"],
        ["--view", "figure", "--theme", "dark"],
        ["--plan", "local:3"],
        ["--plan", "column:2", "--view", "block"],
        ["--plan", "all"],
        ["--plan", "0:11.111.01.110", "--label", "shape"],
        ["--heat", "macs", "--label", "params", "--depth", "0", "--expand", "conv"],
        ["--wrap", "2", "--no-legend"],
    ],
)
def test_every_view_is_sane(options: list[str], tmp_path: Path) -> None:
    dot, printed = rendered(tmp_path, *options)
    if "--plan" not in options:
        check_geometry(read(dot), wrapped=True)
    assert printed == f"{tmp_path / 'n.dot'}\n"
    assert ("legend" in dot) == ("--no-legend" not in options)


def test_a_picture_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    run = CliRunner().invoke
    (tmp_path / "n.frac").write_text(f"{CONV}{FRACTAL}net N(x: f32[4, 8, 8]) -> f32[4, 8, 8] = F[2]")
    for options, message in (
        (["--view", "rule", "--plan", "full"], "a plan needs the collapsed net or a block"),
        (["--stage", "raw", "--plan", "full"], "a plan needs the collapsed net or a block"),
        (["--view", "rule", "--heat", "macs"], "a rule alone has no costs"),
        (["--heat", "gradient"], "pass the folder of a run"),
    ):
        done = run(app, ["render", str(tmp_path / "n.frac"), "-o", str(tmp_path / "n.dot"), *options])
        assert done.exit_code == 2 and message in " ".join(done.output.replace("│", " ").split()), done.output


def test_a_hundred_thousand_layers_are_folded_and_never_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = f"{CONV}{FRACTAL}net N(x: f32[4, 8, 8]) -> f32[4, 8, 8] = F[14] ** 6 >> conv ** 3000"
    added = 0
    add = JoinGraph.add

    def counted(*args: Any, **kwargs: Any) -> int:
        nonlocal added
        added += 1
        return add(*args, **kwargs)

    monkeypatch.setattr(JoinGraph, "add", counted)
    dot, printed = rendered(tmp_path, text=deep)
    picture = read(dot)
    assert "101,298 boxes are over the limit of 2,000: sub-fractals up to level" in printed
    assert added < 5_000 and 20 < len(picture.boxes) < 2_000
    folded = {b.label for b in picture.boxes.values() if b.kind.startswith("closed")}
    assert "conv ×3000" in folded and any(re.fullmatch(r"F\[\d+\] ×2", label) for label in folded)
    check_geometry(picture, wrapped=True)
    (tooltip,) = re.findall(r'label="conv ×3000".*?tooltip="(.*?)"', dot)
    assert "456,000 parameters" in tooltip  # 3,000 times 152
    with pytest.raises(UserError, match=r"101,298 boxes.*plans and measurements need each box"):
        rendered(tmp_path, "--plan", "local:1", text=deep)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("(conv >> relu ** 15) ** 10_000", ["(conv >> relu ×15) ×10000"]),
        ("sum(id, conv >> relu) ** 5_000 >> conv", ["sum(id, conv >> relu) ×5000"]),
        ("seq(conv(4) >> relu for i in range(1500))", ["(conv >> relu) ×1500"]),
        ("seq(conv(1 + i % 7) for i in range(100)) ** 30 >> conv", ["(conv … conv) ×30"]),
        ("seq(conv(5 - i % 2) for i in range(2500)) >> conv", None),
        ("(F[9] >> conv) ** 300", ["(F[9] >> conv) ×300"]),
    ],
)
def test_whatever_repeats_is_folded_before_it_is_expanded(
    body: str, expected: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fractal_dsl.picture.shown._MOST", 2_400)
    text = f"{CONV}{FRACTAL}net N(x: f32[4, 8, 8]) -> f32[4, 8, 8] = {body}"
    if expected is None:
        monkeypatch.setattr(JoinGraph, "add", None)
        with pytest.raises(UserError, match=r"2,501 boxes after folding equal parts; the limit is 2,400"):
            rendered(tmp_path, text=text)
        return
    dot, printed = rendered(tmp_path, text=text)
    assert [b.label for b in read(dot).boxes.values() if b.kind.startswith("closed")] == expected
    assert "equal parts in a row are folded" in printed


def test_a_long_net_of_different_layers_is_refused_with_the_limit(tmp_path: Path) -> None:
    layers = " >> ".join(f"conv({1 + i % 7})" for i in range(2_100))
    with pytest.raises(UserError, match=r"the limit is 2,000"):
        rendered(tmp_path, text=f"{CONV}net N(x: f32[1, 2, 2]) -> f32[7, 2, 2] = {layers}")


def test_what_a_run_measured_colours_its_layers(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    compiled = fractal(2, 1)
    (run / "spec.frac").write_text(compiled.program.source.text)
    (run / "params.json").write_text('{"params": {}, "net": "N"}')
    weighted = [n for n in compiled.graph.g.nodes if compiled.graph.construction(n) is not None]
    names = [compiled.graph[n].module for n in weighted]  # type: ignore[union-attr]
    (run / "gradients.json").write_text(json.dumps({name: 10.0**-i for i, name in enumerate(names)}))
    rows = [{"column": 1, "loss": 0.5}, {"column": 2, "loss": 2.0}]
    (run / "result.json").write_text(json.dumps({"columns": rows}))
    for name in ("config.json", "metrics.jsonl", "last.safetensors", "best.safetensors"):
        (run / name).touch()

    def seal() -> None:
        versions = {"fractal_dsl": "0"}
        kind = {"format": RUN_FORMAT, "format_version": RUN_VERSION}
        write_manifest(run, {**kind, "status": "finished", "graph_sha256": "", "versions": versions})

    seal()

    def fills(heat: str) -> dict[str, str]:
        done = CliRunner().invoke(app, ["render", str(run), "-o", str(tmp_path / "r.dot"), "--heat", heat])
        assert done.exit_code == 0, done.output
        return fills_of((tmp_path / "r.dot").read_text("utf-8"))

    ramp = [fill for fill, _ in LIGHT.ramp]
    gradient = fills("gradient")
    assert gradient[names[0].rpartition(".")[0]] == ramp[-1] and gradient["linear"] == ramp[0]
    loss = fills("loss")
    assert loss["block1.column2.conv1"] == ramp[-1] and loss["block1.column1.conv1"] == ramp[0]
    assert loss["linear"] == LIGHT.families["shape"][0], "all columns share it"
    (run / "gradients.json").write_text(json.dumps(dict.fromkeys(names, 1.0)))
    refused = CliRunner().invoke(app, ["render", str(run), "-o", "x.dot"]).exception
    assert isinstance(refused, UserError) and "gradients.json was altered or truncated" in str(refused)
    (run / "gradients.json").unlink()
    seal()
    refused = CliRunner().invoke(app, ["render", str(run), "-o", "x.dot", "--heat", "gradient"]).exception
    assert isinstance(refused, UserError) and "has no gradients.json: train with --track-columns" in str(refused)


@needs_graphviz
def test_an_svg_can_follow_the_readers_theme(tmp_path: Path) -> None:
    svg, _ = rendered(tmp_path, "--theme", "auto", name="n.svg")
    root = ET.fromstring(svg)
    (sheet,) = [e.text or "" for e in root.iter(f"{SVG}style")]
    assert sheet.startswith("@media (prefers-color-scheme: dark)")
    used = {e.get(a) for e in root.iter() for a in ("fill", "stroke")} - {None, "none", "transparent"}
    assert {colour for colour in used if f'[fill="{colour}"]' not in sheet} == set()
    assert "<style" not in rendered(tmp_path, name="m.svg")[0]


# --- large nets


EXAMPLES = Path(__file__).parent.parent / "examples"


def test_a_large_net_is_folded_unless_an_option_needs_each_box(tmp_path: Path) -> None:
    deep = ["render", str(EXAMPLES / "fractalnet_deep.frac"), "-p", "columns=6"]
    for options, folded in (
        ([], True),
        (["--view", "figure"], True),
        (["--heat", "macs"], True),
        (["--depth", "1"], False),
        (["--expand", "block1"], False),
        (["--plan", "column:6"], False),
    ):
        place = tmp_path / "deep.dot"
        done = CliRunner().invoke(app, [*deep, "-o", str(place), *options])
        assert done.exit_code == 0, done.output
        assert ("sub-fractals up to level 3 are folded; --depth 1 draws all 322 boxes" in done.output) == folded
        assert ("fractal[3] ×2" in place.read_text("utf-8")) == folded
    for small in ("fractalnet34_imagenet", "resnet34", "googlenet"):
        done = CliRunner().invoke(app, ["render", str(EXAMPLES / f"{small}.frac"), "-o", str(tmp_path / "small.dot")])
        assert "are folded" not in done.output


DENSE = """
layer dense_layer = batchnorm2d >> relu >> conv2d(128, 1) >> batchnorm2d >> relu >> conv2d(32, 3, padding=1)
net DenseNet(x: f32[3, 64, 64]) -> f32[1000] = conv2d(64, 7, stride=2, padding=3) >> relu >> maxpool2d(2)
    >> seq(concat(id, dense_layer) ** n >> relu >> conv2d(w, 1) >> avgpool2d(2)
        for n, w in zip([6, 12, 24], [128, 256, 512]))
    >> concat(id, dense_layer) ** 16 >> global_avgpool >> linear(1000)
"""


@pytest.mark.parametrize(
    "name", ["dense", "densenet121", "googlenet", *(f"zoo/{n}" for n in ("dla34 efficientnet_b0 swin_t".split()))]
)
def test_a_net_of_many_layers_fits_a_page(name: str, tmp_path: Path) -> None:
    """Parts that repeat are drawn once, and layers are closed until texts can be read on a page."""
    compiled = compile_text(DENSE) if name == "dense" else compile_file(EXAMPLES / f"{name}.frac")
    picture = Shown(compiled)
    dot = picture.dot(Look())
    width, height = map(float, re.search(r'bb="0,0,([0-9.]+),([0-9.]+)"', dot).groups())  # type: ignore[union-attr]
    assert max(width / 1800, height / 1300) <= 1 or max(width / 1300, height / 1800) <= 1
    check_geometry(read(dot), wrapped=True)
    if name == "dense":
        assert [c.label for c in read(dot).clusters.values() if "×" in c.label] == [
            f"concat ×{n}" for n in (6, 12, 24, 16)
        ]
        assert not picture.note


def test_layers_are_closed_where_they_are_drawn_open_before() -> None:
    """What is closed has its window, its count and the shape behind it. Options that open parts open all."""
    wide = "layer cbr(out: int, k: int) = conv2d(out, k, padding=k // 2) >> batchnorm2d >> relu\n"
    wide += "layer two(k: int) = cbr(8, k) >> relu6 >> tanh\n"
    wide += f"layer cell(a: int) = concat({', '.join(['two(3) >> sigmoid >> two(a)'] * 6)}) >> cbr(8, 1)\n"
    text = wide + "net N(x: f32[8, 8, 8]) -> f32[8, 8, 8] = seq(cell(2 * k + 3) for k in range(24))"
    shown = Shown(compile_text(text))
    boxes = labels(shown.dot(Look()))
    assert "layers are closed so that the picture fits a page" in shown.note
    assert boxes.count("cell") == 23 and boxes.count("two 3×3") == 12
    opened = Shown(compile_text(text)).dot(Look(opening=Opening(9)))
    assert not {"cell", "two 3×3"} & {*labels(opened)}


def test_a_transposed_convolution_says_that_it_enlarges() -> None:
    text = "net N(x: f32[8, 8, 8]) -> f32[4, 8, 8] = convtranspose2d(4, 2, stride=2) >> conv2d(4, 2, stride=2)"
    dot = graph_to_dot(compile_text(text).graph)
    assert "convtranspose2d 2×2 ↑2" in dot and "conv2d 2×2 /2" in dot


def test_a_line_passes_below_the_frames_of_others() -> None:
    graph = compile_file(Path(__file__).parent.parent / "examples" / "zoo" / "siamese.frac").graph
    placed = graph_to_dot_module._panel(graph, Look(), None, 0).placed  # pyright: ignore[reportPrivateUsage]
    frames = [rect for rect, _ in placed.frames.values()]
    assert len(frames) == 2
    for edge in placed.edges:
        own = [placed.units[edge.source], placed.units[edge.target]]
        for rect in frames:
            if any(rect.left <= unit.middle <= rect.right and rect.top <= unit.top <= rect.bottom for unit in own):
                continue
            levels = [(a, b) for a, b in pairwise(edge.points) if a[1] == b[1] and rect.top < a[1] < rect.bottom]
            assert not [1 for a, b in levels if min(a[0], b[0]) < rect.right and max(a[0], b[0]) > rect.left]
