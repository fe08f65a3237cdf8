"""The measurements of a training run by node of its net, read without torch, for pictures.

``gradients.json``   {"module name": norm}: the norm of the gradient of each module's parameters
``result.json``      ``columns``: the loss of each column on the test examples
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.parts import read_json
from fractal_dsl.graph.graph import Join, JoinGraph, Layer


def measured(folder: Path, name: str, graph: JoinGraph) -> Mapping[int, float]:
    """A measurement by node: the ``gradient`` norm, or the test ``loss`` of the node's column.

    Raises UserError if the run did not measure it.
    """
    return gradient_norms(folder, graph) if name == "gradient" else column_losses(folder, graph)


def gradient_norms(folder: Path, graph: JoinGraph) -> dict[int, float]:
    """The gradient norm of each node with weights. Raises UserError if the run has none for this net."""
    norms = _json(folder, "gradients.json", "train with --track-columns, which records the norms of gradients")
    norm_by_node = {
        number: float(norms[node.module])
        for number, node in graph.items()
        if isinstance(node, Layer | Join) and isinstance(norms.get(node.module), int | float)
    }
    if not norm_by_node:
        raise UserError(f"the gradient norms of {folder} name no module of net {graph.net}")
    return norm_by_node


def column_losses(folder: Path, graph: JoinGraph) -> dict[int, float]:
    """The test loss of each layer's column: the shallowest column that the layer is part of.

    Layers that all columns share have none. Raises UserError if the run has no losses by column.
    """
    result = _json(folder, "result.json", "the run has not finished")
    try:
        losses = {int(row["column"]): float(row["loss"]) for row in result["columns"]}
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{folder / 'result.json'} is damaged: restore it, or train again") from None
    everything = (1 << max(1, len(graph.columns))) - 1
    loss_by_node: dict[int, float] = {}
    for number, node in graph.items():
        if isinstance(node, Layer) and node.columns not in (0, everything):
            column = (node.columns & -node.columns).bit_length()
            if column in losses:
                loss_by_node[number] = losses[column]
    if not loss_by_node:
        raise UserError(f"{folder} has no losses by column: net {graph.net} has one column, or was not evaluated")
    return loss_by_node


def _json(folder: Path, name: str, reason: str) -> dict[str, Any]:
    try:
        data = read_json(folder, name)
    except OSError:
        raise UserError(f"{folder} has no {name}: {reason}") from None
    except ValueError:
        raise UserError(f"{folder / name} is damaged: restore it, or train again") from None
    if not isinstance(data, dict):
        raise UserError(f"{folder / name} is damaged: restore it, or train again")
    return cast(dict[str, Any], data)
