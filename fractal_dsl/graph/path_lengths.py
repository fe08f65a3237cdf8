"""The number of paths of each length through a net: exact, and expected under drop-path.

A path goes from the input to the output along the edges of the join graph; its length is the number of weighted layers
on it, convolutions and linear ones, as in ``weighted_depth`` of ``info``. The counts are exact: polynomials, in which
the coefficient of x**n counts paths of length n, added where paths meet. A path goes once at most through a join, and
drop-path decides on joins independently, so the chance that a path is live is a product, and expectations follow the
same recurrence (paper section 3.1 is drop-path; the figure is that of Veit et al. 2016, "Residual Networks Behave Like
Ensembles of Relatively Shallow Networks").
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from fractal_dsl.graph.graph import Input, Join, JoinGraph, Layer
from fractal_dsl.program.program import DropPath

Lengths = dict[int, int]
"""Paths by length, shortest first."""

_Weight = Callable[[int, int], int | Fraction]
"""The chance that operand i of a join, given by its number, is live."""


def path_lengths(graph: JoinGraph) -> Lengths:
    """The number of paths of each length, every operand live."""
    counts = _counted(graph, lambda join, i: 1)
    return {length: int(count) for length, count in counts.items()}


def expected_path_lengths(graph: JoinGraph) -> dict[int, Fraction]:
    """The expected number of live paths of each length in a training step, by the net's drop-path.

    With ``columns=all`` a step is several passes, a local one and one for each column: the mean over them.
    Probabilities count as the decimals that they are written as.
    """
    drop = graph.drop_path
    if drop is None or not graph.joins():
        return {length: Fraction(count) for length, count in path_lengths(graph).items()}
    columns = graph.n_columns
    local, column = _shares(drop, columns)
    result = _scaled(_counted(graph, _locally(graph, Fraction(str(drop.local)))), local)
    for k in range(columns):
        for length, count in _scaled(_counted(graph, _in_column(graph, k)), column).items():
            result[length] = result.get(length, Fraction(0)) + count
    return dict(sorted((length, count) for length, count in result.items() if count))


def weighted_depths(graph: JoinGraph) -> dict[str, int]:
    """How many weighted layers the longest path to a weighted layer has, itself among them, by its module's name."""
    deepest: dict[int, int] = {}
    depths: dict[str, int] = {}
    for number, node in graph.items():
        before = max((deepest[o] for o in graph.operands(number)), default=0)
        deepest[number] = before + _length(node)
        if isinstance(node, Layer) and _length(node):
            depths[node.module] = max(depths.get(node.module, 0), deepest[number])
    return depths


def _shares(drop: DropPath, columns: int) -> tuple[Fraction, Fraction]:
    """The share of passes that are local, and that of each column."""
    if drop.all_columns:
        return Fraction(1, 1 + columns), Fraction(1, 1 + columns)
    each = Fraction(str(drop.global_))
    return 1 - each, each / columns


def _locally(graph: JoinGraph, drop: Fraction) -> _Weight:
    """An operand is kept by its own draw, or as the survivor, drawn evenly, where all were dropped."""
    arities = {number: len(join.labels) for number, join in graph.joins()}
    live = {n: 1 - drop + drop**n / n for n in set(arities.values())}
    return lambda join, i: live[arities[join]] if join in arities else 1


def _in_column(graph: JoinGraph, k: int) -> _Weight:
    choices = {number: join.choice[k] for number, join in graph.joins()}
    return lambda join, i: int(choices.get(join, i) == i)


def _counted(graph: JoinGraph, live: _Weight) -> dict[int, int | Fraction]:
    paths: dict[int, dict[int, int | Fraction]] = {}
    readers = {number: len(graph.consumers(number)) for number, _ in graph.items()}
    for number, node in graph.items():
        total: dict[int, int | Fraction] = {0: 1} if isinstance(node, Input) else {}
        more = _length(node)
        for i, operand in enumerate(graph.operands(number)):
            weight = live(number, i) if isinstance(node, Join) else 1
            if weight:
                for length, count in paths[operand].items():
                    total[length + more] = total.get(length + more, 0) + count * weight
            readers[operand] -= 1
            if not readers[operand]:
                del paths[operand]
        paths[number] = total
    return dict(sorted(paths[graph.output[0]].items()))


def _length(node: object) -> int:
    """1 for a weighted layer."""
    return int(isinstance(node, Layer) and node.spec.weighted and node.spec.cost(node.into, node.out, node.args)[0] > 0)


def _scaled(counts: dict[int, int | Fraction], share: Fraction) -> dict[int, Fraction]:
    return {length: share * count for length, count in counts.items()}
