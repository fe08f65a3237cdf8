"""The layers of a net as a table, for ``info --layers``."""

from __future__ import annotations

from typing import Any

from fractal_dsl.base.texts import aligned
from fractal_dsl.graph.graph import Join, JoinGraph, Layer
from fractal_dsl.plans.plan_on_graph import node_cost


def layer_facts(graph: JoinGraph) -> list[dict[str, Any]]:
    """The layers and joins of a labelled graph, but ``id``, in the order of its forward pass, as plain data.

    Shapes leave the batch out, and MACs are per sample. Layers that share weights name the module of the weights in
    ``weights_of``. The weights count at the first of these layers, and the others have ``params`` 0.
    """
    facts: list[dict[str, Any]] = []
    known: set[str] = set()
    for number, node in graph.items():
        if not isinstance(node, Layer | Join) or node.spec.name == "id":
            continue
        cost = node_cost(graph, number)
        fact = {"name": node.name, "layer": node.spec.name, "output_shape": list(node.out.shape)}
        fact |= {"params": 0 if node.module in known else cost.params, "macs": cost.macs}
        if cost.params and node.module != node.name:
            fact["weights_of"] = node.module
        known.add(node.module)
        facts.append(fact)
    return facts


def layer_table(facts: list[dict[str, Any]]) -> list[str]:
    """The lines of a table of ``layer_facts``."""
    rows = [("name", "layer", "output", "parameters", "MACs per sample")]
    rows += [
        (
            fact["name"],
            fact["layer"],
            str(fact["output_shape"]),
            f"of {fact['weights_of']}" if "weights_of" in fact and not fact["params"] else f"{fact['params']:,}",
            f"{fact['macs']:,}",
        )
        for fact in facts
    ]
    return aligned(rows, "<<<>>")
