"""The passes, each from a join graph to a new one, and the function that runs and verifies them.

In: a join graph. Out: a new join graph, verified. A pass does not change the graph that it is given.
Not imported here: torch, ``plans`` and above.

collapse_joins     raw -> collapsed
assign_columns     collapsed -> labelled
select_column      labelled -> selected
prune_dead         selected -> column; other stages stay as they are
lone_whole         labelled -> column
fold_batchnorm     column -> column
normalise_inputs   labelled -> labelled
restore_outputs    labelled -> labelled
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from fractal_dsl.base.deep import deep
from fractal_dsl.graph.graph import JoinGraph
from fractal_dsl.graph.verify import BrokenGraph, verify

T = TypeVar("T")
P = ParamSpec("P")


def run_pass(rewrite: Callable[Concatenate[T, P], JoinGraph], given: T, *args: P.args, **kwargs: P.kwargs) -> JoinGraph:
    """Run ``rewrite``, a pass or ``program_to_graph``, on ``given`` and verify the resulting graph.

    Raises BrokenGraph, which names the pass and the invariant, if the graph breaks an invariant of its stage.
    """
    with deep():
        graph = rewrite(given, *args, **kwargs)
        try:
            verify(graph)
        except BrokenGraph as error:
            raise BrokenGraph(f"{rewrite.__name__} broke the {graph.stage} graph of {graph.net}: {error}") from None
    return graph
