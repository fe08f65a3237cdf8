"""Join graph to readable Python source: ``model.py``, which imports only torch.

Names under one dotted prefix that form a region with one input and one output become a class (a user's
layer, a block); regions of one structure share a class, and the constants in which they differ become its
parameters. Prefixes that are no such region (a column, cut by joins) become ``nn.ModuleDict`` containers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fractal_dsl.codegen.graph_to_source.names import class_name
from fractal_dsl.codegen.graph_to_source.write import Writer
from fractal_dsl.graph.graph import JoinGraph

__all__ = ["class_name", "graph_to_source"]


def graph_to_source(graph: JoinGraph, helpers: Mapping[str, str], title: str, notes: Sequence[str] = ()) -> str:
    """The source of ``model.py``. ``helpers`` are the sources of layers that torch.nn does not have, by name.

    The module's docstring begins with ``title`` and ``notes``: any text, which stays text.
    """
    return Writer(graph, helpers).source(title, notes)
