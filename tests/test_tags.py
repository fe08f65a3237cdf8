"""Tags in pictures: a frame has one entry and one exit, wherever the tag stands."""

from itertools import cycle, pairwise

import pytest

from fractal_dsl.compiled import Compiled
from fractal_dsl.picture.graph_to_dot import (
    Look,
    Opening,
    figure_to_dot,
    graph_to_dot,
    graph_to_page,
    plans_to_dot,
    rule_to_dot,
)
from fractal_dsl.picture.graph_to_dot.frames import framed
from fractal_dsl.picture.graph_to_dot.series_parallel import units_to_tree
from fractal_dsl.picture.graph_to_dot.tree import Frame, Item, Leaf, Parallel, Series
from fractal_dsl.picture.graph_to_dot.units import fold
from fractal_dsl.pipeline import compile_text
from fractal_dsl.plans.plan_on_graph import plan_of_spec
from tests.test_render import check_geometry, read

CASES = [
    '(F[n] >> F[n] | linear(4)) @tag("y")',
    '(F[n] >> F[n] | linear(4)) @tag("y") @tag("z")',
    '((F[n] >> F[n] | linear(4)) @tag("y") | linear(4)) @tag("z")',
    'F[n] @tag("y") >> F[n] | linear(4)',
    'F[n] >> (F[n] @tag("y")) | linear(4)',
    '(F[n] >> F[n]) @tag("a tag of many words") | linear(4) @tag("y")',
    '(F[n] >> F[n] | linear(4)) @checkpoint @tag("y")',
    '(F[n] | linear(4)) @tag("y") | F[n]',
    'F[n] >> F[n] | (linear(4) >> relu) @tag("y")',
]
BASES = ['linear(4) @tag("b")', '(linear(4) >> relu) @tag("y")', 'mean(linear(4), linear(4) >> relu) @tag("y")']
BODIES = ["F[3]", 'F[3] @tag("o")', "F[3].each(relu)", 'F[2] >> F[2] @tag("y")', 'sum(F[3], id) @tag("u")']
LOOKS = [Look(strips=1), Look(strips=3), *(Look(opening=Opening(depth)) for depth in range(3))]


def net(case: str, base: str, body: str) -> Compiled:
    rule = f"rule F join mean {{ F[1] = {base}  F[n+1] = {case} }}\n"
    return compile_text(f"{rule}net N(x: f32[4]) -> f32[2] = ({body}) >> linear(2)")


def check_frames(series: Series, keys: set[tuple[str, int]] | None = None, *, crossed: bool = False) -> None:
    """Every frame, of a key of its own, holds columns only together with the bar that closes them. Where lines run
    around the tree (``crossed``), a bar may have a single branch above it."""
    keys = set() if keys is None else keys
    for item in series.items:
        match item:
            case Leaf():
                pass
            case Parallel():
                for branch in item.branches:
                    check_frames(branch, keys, crossed=crossed)
            case Frame():
                first, last = item.body.items[0], item.body.items[-1]
                assert (crossed or not is_join(first)) and not isinstance(last, Parallel), "one entry and one exit"
                assert item.key not in keys
                keys.add(item.key)
                check_frames(item.body, keys, crossed=crossed)
    for above, below in pairwise(series.items):
        assert crossed or isinstance(above, Parallel) == is_join(below)


def is_join(item: Item) -> bool:
    return isinstance(item, Leaf) and item.unit.kind == "join"


@pytest.mark.parametrize("stage", ["raw", "collapsed", "graph"])
@pytest.mark.parametrize("case", CASES)
def test_a_tag_can_stand_anywhere_in_a_rule(case: str, stage: str) -> None:
    for base, body in zip(cycle(BASES), BODIES, strict=False):
        graph = getattr(net(case, base, body), stage)
        units = fold(graph)
        check_frames(framed(units_to_tree(units)[0], units.frames))
        for look in LOOKS:
            dot = graph_to_dot(graph, look)
            picture = read(dot)
            check_geometry(picture, wrapped=look.strips != 1)
            assert len(picture.clusters) == dot.count("subgraph cluster_"), "each frame has a name of its own"
            assert "@y" in dot or look.opening.depth is not None  # a closed box has its own title only


@pytest.mark.parametrize("case", CASES)
def test_every_view_draws_tags(case: str) -> None:
    compiled = net(case, BASES[0], BODIES[0])
    graph, look = compiled.graph, Look()
    plans = [(spec, plan_of_spec(spec, graph)) for spec in ("full", "column:2", "local:1")]
    for dot in (rule_to_dot(compiled.program, look), figure_to_dot(compiled.program, graph, look)):
        assert "@y" in dot
        check_geometry(read(dot))
    plans_to_dot(graph, plans, look)
    assert "@y" in graph_to_page(graph, look, plans)[0]
    for stage in (compiled.raw, compiled.collapsed, graph):
        assert "@y" in graph_to_dot(stage, look, block=1)


def test_a_value_of_a_tagged_rule_is_drawn_in_a_panel_of_its_own() -> None:
    text = """
    let part = a @tag("inner") >> relu where a = conv2d(2, 1) @tag("outer")
    rule R(out: int) join max {
        R[1]   = (part >> conv2d(out, 1) | conv2d(out, 1)) @tag("whole")
        R[n+1] = R[n] >> R[n]
    }
    net N(x: f32[3, 4, 4]) -> f32[3] = R[1](out=3) >> global_avgpool
    """
    dot = rule_to_dot(compile_text(text).program)
    titles = [dot.count(f'label="{title}"') for title in ("@whole", "a @inner", "conv2d 1×1 @outer")]
    assert titles == [1, 1, 1], "the panel of `a` is outside of the rule's frame"
