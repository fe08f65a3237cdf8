"""The inputs, outputs and columns of a net, as its graph has them."""

from __future__ import annotations

from fractal_dsl import ops
from fractal_dsl.graph.graph import JoinGraph


class Ended:
    """A net that knows the types of its inputs and outputs."""

    join_graph: JoinGraph

    @property
    def inputs(self) -> dict[str, ops.Tensor]:
        """The types and shapes of the inputs by name, without the batch."""
        return {node.name: node.out for _, node in self.join_graph.inputs}

    @property
    def outputs(self) -> dict[str, ops.Tensor]:
        """The types and shapes of the outputs by name, without the batch."""
        end = self.join_graph.output[1]
        return dict(zip(end.names, end.outs, strict=True))

    @property
    def input(self) -> ops.Tensor:
        """The type and shape of the input, without the batch. Raises UserError if there are several."""
        return self.join_graph.input[1].out

    @property
    def output(self) -> ops.Tensor:
        """The type and shape of the output, without the batch. Raises UserError if there are several."""
        return self.join_graph.output[1].out

    @property
    def n_columns(self) -> int:
        """The number of columns. Column 1 is the shallowest."""
        return self.join_graph.n_columns
