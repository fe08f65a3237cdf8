"""Paths by length: against the summary's recurrence, against walking every path, and under every plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest

from fractal_dsl.compiled import Compiled
from fractal_dsl.graph.graph import Join, JoinGraph, Layer
from fractal_dsl.graph.path_lengths import expected_path_lengths, path_lengths, weighted_depths
from fractal_dsl.pipeline import compile_file, compile_text

EXAMPLES = Path(__file__).parent.parent / "examples"
SPEC = """
layer conv(out: int) = conv2d(out, 3, padding=1) >> batchnorm2d >> relu
rule F(out: int) join mean {
    F[1]   = conv(out)
    F[n+1] = F[n] >> F[n] | conv(out)
}
net N(x: f32[1, 4, 4]) -> f32[2] with drop_path(DROP)
    = F[3](2) >> sum(id, conv(2) >> conv(2)) >> F[2](2) >> flatten >> linear(2)
"""


def net(drop: str) -> Compiled:
    return compile_text(SPEC.replace("DROP", drop))


def walked(graph: JoinGraph, live: dict[int, tuple[bool, ...]]) -> Counter[int]:
    """Every path, one by one."""

    def from_(number: int) -> Iterator[int]:
        node, operands = graph[number], graph.operands(number)
        own = int(isinstance(node, Layer) and node.spec.name in ("conv2d", "linear"))
        if not operands:
            yield 0
        for operand, on in zip(operands, live.get(number, (True,) * len(operands)), strict=True):
            if on:
                yield from (own + length for length in from_(operand))

    return Counter(from_(graph.output[0]))


def test_counts_are_those_of_every_path() -> None:
    graph = net("local=0%").graph
    assert path_lengths(graph) == dict(sorted(walked(graph, {}).items()))


@pytest.mark.parametrize("name", [f.name for f in sorted(EXAMPLES.glob("*.frac")) if "densenet" not in f.name])
def test_the_sum_and_the_longest_are_the_summarys(name: str) -> None:
    compiled = compile_file(EXAMPLES / name)
    found = path_lengths(compiled.graph)
    assert sum(found.values()) == compiled.summary.paths
    assert max(found) == compiled.summary.weighted_depth == max(weighted_depths(compiled.graph).values())


@pytest.mark.parametrize("drop", ["local=30%", "local=30%, global=40%", "local=30%, columns=all"])
def test_expectations_are_those_over_all_plans(drop: str) -> None:
    graph = net(drop).graph
    p, columns = Fraction("0.3"), len(graph.columns)
    joins: list[tuple[int, Join]] = graph.joins()
    local: Counter[int] = Counter()
    sides = [list(product((True, False), repeat=len(join.labels))) for _, join in joins]
    for flags in product(*sides):
        outcomes: list[list[tuple[Fraction, tuple[bool, ...]]]] = []
        for given in flags:
            n, dropped = len(given), given.count(False)
            chance = p**dropped * (1 - p) ** (n - dropped)
            alone = [tuple(i == j for j in range(n)) for i in range(n)]
            outcomes.append([(chance, given)] if any(given) else [(chance / n, one) for one in alone])
        for drawn in product(*outcomes):
            chance = Fraction(1)
            for c, _ in drawn:
                chance *= c
            live = {number: on for (number, _), (_, on) in zip(joins, drawn, strict=True)}
            for length, count in walked(graph, live).items():
                local[length] += chance * count  # type: ignore[assignment]
    whole: Counter[int] = Counter()
    each = {"local=30%": 0, "local=30%, global=40%": Fraction("0.4") / columns}.get(drop, Fraction(1, 1 + columns))
    for length, chance in local.items():
        whole[length] += chance * (1 - each * columns)  # type: ignore[assignment]
    for k in range(columns):
        live = {number: tuple(i == join.choice[k] for i in range(len(join.labels))) for number, join in joins}
        for length, count in walked(graph, live).items():
            whole[length] += each * count  # type: ignore[assignment]
    assert expected_path_lengths(graph) == {length: c for length, c in sorted(whole.items()) if c}


def test_a_column_alone_is_one_path() -> None:
    found = expected_path_lengths(compile_file(EXAMPLES / "digits.frac", {"columns": "2"}).graph)
    assert sum(found.values()) > 1
    only_columns = compile_text(SPEC.replace("DROP", "global=100%").replace("sum(id, conv(2) >> conv(2)) >> ", ""))
    assert sum(expected_path_lengths(only_columns.graph).values()) == 1
