"""A net that displays itself in a notebook."""

from __future__ import annotations

from torch import fx

from fractal_dsl.graph.graph import JoinGraph
from fractal_dsl.picture.bundle import graph_bundle


class Displayed(fx.GraphModule):
    """A module with the graph that it was built from."""

    join_graph: JoinGraph

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """The net as a picture, with its number of parameters."""
        count = sum(p.numel() for p in self.parameters())
        return graph_bundle(self.join_graph, f"net {self.join_graph.net}: {count:,} parameters")
