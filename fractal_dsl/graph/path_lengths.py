"""The number of paths of each length through a net: exact, and expected under drop-path.

A path goes from the input to the output along the edges of the join graph. Its length is the number of weighted layers
on it (convolutions and linear layers), as in ``weighted_depth`` of ``info``. The counts are exact. They are
polynomials: the coefficient of x**n counts the paths of length n, and polynomials are added where paths meet.

A path passes a join at most once, and drop-path (paper, section 3.1) decides on each join independently. The
probability that a path is live is therefore a product, and expectations follow the same recurrence. Veit et al. 2016,
"Residual Networks Behave Like Ensembles of Relatively Shallow Networks", plot this figure for residual networks.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from fractal_dsl.graph.graph import Input, Join, JoinGraph, Layer
from fractal_dsl.program.drops import chances_of
from fractal_dsl.program.program import DropPath

Lengths = dict[int, int]
"""Paths by length, shortest first."""

_Weight = Callable[[int, int], int | Fraction]
"""The probability that operand i of the join with a number is live."""


def path_lengths(graph: JoinGraph) -> Lengths:
    """The number of paths of each length, with every operand live."""
    counts = _counted(graph, lambda join, i: 1)
    return {length: int(count) for length, count in counts.items()}


def expected_path_lengths(graph: JoinGraph) -> dict[int, Fraction]:
    """The expected number of live paths of each length in a training step, by the net's drop-path and ``@drop``.

    With ``columns=all``, a step has a local pass and one for each column: the result is the mean over them.
    Probabilities are exact decimals, as written.
    """
    drop = graph.drop_path
    if drop is None or not graph.joins():
        only = _counted(graph, _by_branch(graph, lambda join, i: 1))
        return {length: Fraction(count) for length, count in only.items() if count}
    columns = graph.n_columns
    local, each = _shares(drop, columns)
    locally = _by_branch(graph, _locally(graph, Fraction(str(drop.local))))
    result = _scaled(_counted(graph, locally), local)
    for k, column in enumerate(each):
        for length, count in _scaled(_counted(graph, _by_branch(graph, _in_column(graph, k))), column).items():
            result[length] = result.get(length, Fraction(0)) + count
    return dict(sorted((length, count) for length, count in result.items() if count))


def weighted_depths(graph: JoinGraph) -> dict[str, int]:
    """The weighted layers on the longest path to each weighted layer, itself included, by the name of its module."""
    deepest: dict[int, int] = {}
    depths: dict[str, int] = {}
    for number, node in graph.items():
        before = max((deepest[o] for o in graph.operands(number)), default=0)
        deepest[number] = before + _length(node)
        if isinstance(node, Layer) and _length(node):
            depths[node.module] = max(depths.get(node.module, 0), deepest[number])
    return depths


def _shares(drop: DropPath, columns: int) -> tuple[Fraction, list[Fraction]]:
    """The share of passes that are local, and that of each column."""
    if drop.all_columns:
        return Fraction(1, 1 + columns), [Fraction(1, 1 + columns)] * columns
    share, weights = Fraction(str(drop.global_)), [Fraction(str(w)) for w in drop.weights or (1,) * columns]
    return 1 - share, [share * weight / sum(weights) for weight in weights]


def _locally(graph: JoinGraph, drop: Fraction) -> _Weight:
    """An operand is live by its own draw, or as the survivor, drawn uniformly, of a join that lost all operands."""
    arities = {number: len(join.labels) for number, join in graph.joins()}
    live = {n: 1 - drop + drop**n / n for n in set(arities.values())}
    return lambda join, i: live[arities[join]] if join in arities else 1


def _by_branch(graph: JoinGraph, otherwise: _Weight) -> _Weight:
    """A branch of an inline join is kept by its own draw; ``otherwise`` is for other joins."""
    live = {n: chances_of([Fraction(str(drop)) for drop in join.drops]) for n, join in graph.dropping()}
    return lambda join, i: live[join][i] if join in live else otherwise(join, i)


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
