"""Join graph to readable Python source: ``model.py``, which imports only torch.

In: a labelled graph or a column. Out: the text of ``model.py``.
Not imported here: torch, ``picture``, ``config`` and above.

Nodes under one dotted prefix become a class if they form a region with one input and one output, such as a user's layer
or a block. Regions of the same structure share a class, and the constants in which they differ become its parameters.
Other prefixes, such as a column that joins cut, become ``nn.ModuleDict`` containers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fractal_dsl.codegen.graph_to_source.names import class_name
from fractal_dsl.codegen.graph_to_source.write import Writer
from fractal_dsl.graph.graph import JoinGraph

__all__ = ["class_name", "graph_to_source"]


def graph_to_source(
    graph: JoinGraph,
    helpers: Mapping[str, str],
    title: str,
    notes: Sequence[str] = (),
    example: Sequence[str] = (),
) -> str:
    """The source of ``model.py`` for a labelled graph or a column.

    ``helpers`` are the sources of layers that torch.nn does not have, by target. The module's docstring begins with
    ``title`` and ``notes``; any text in them is escaped. ``example`` is code that calls the loaded ``model``.
    """
    return Writer(graph, helpers).source(title, notes, example)
