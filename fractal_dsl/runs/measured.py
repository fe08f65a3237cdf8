"""What a training run measured, by the nodes of its net: read without torch, for pictures.

``gradients.json``   {"module name": norm}: the norm of the gradient of each module's parameters
``result.json``      ``columns``: the loss of each column on the test images
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.parts import read_json
from fractal_dsl.graph.graph import Join, JoinGraph, Layer


def measured(folder: Path, name: str, graph: JoinGraph) -> Mapping[int, float]:
    """What a run measured at the nodes of its net: the ``gradient`` norm, or the test ``loss`` of the column.

    Raises UserError if the run has not measured it.
    """
    return gradient_norms(folder, graph) if name == "gradient" else column_losses(folder, graph)


def gradient_norms(folder: Path, graph: JoinGraph) -> dict[int, float]:
    """The gradient norm of each node with weights. Raises UserError if the run has none that fit the net."""
    norms = _json(folder, "gradients.json", "train with --track-columns, which records the norms of gradients")
    found = {
        number: float(norms[node.module])
        for number, node in graph.items()
        if isinstance(node, Layer | Join) and isinstance(norms.get(node.module), int | float)
    }
    if not found:
        raise UserError(f"the gradient norms of {folder} name no module of net {graph.net}")
    return found


def column_losses(folder: Path, graph: JoinGraph) -> dict[int, float]:
    """For each layer the test loss of the column that it is named by, the shallowest that it is part of; layers that
    all columns share have none. Raises UserError if the run has no losses of columns."""
    result = _json(folder, "result.json", "the run has not finished")
    try:
        losses = {int(row["column"]): float(row["loss"]) for row in result["columns"]}
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{folder / 'result.json'} is damaged: restore it, or train again") from None
    everything = (1 << max(1, len(graph.columns))) - 1
    found: dict[int, float] = {}
    for number, node in graph.items():
        if isinstance(node, Layer) and node.columns not in (0, everything):
            column = (node.columns & -node.columns).bit_length()
            if column in losses:
                found[number] = losses[column]
    if not found:
        raise UserError(f"{folder} has no losses by column: net {graph.net} has one column, or was not evaluated")
    return found


def _json(folder: Path, name: str, why: str) -> dict[str, Any]:
    try:
        data = read_json(folder, name)
    except OSError:
        raise UserError(f"{folder} has no {name}: {why}") from None
    except ValueError:
        raise UserError(f"{folder / name} is damaged: restore it, or train again") from None
    if not isinstance(data, dict):
        raise UserError(f"{folder / name} is damaged: restore it, or train again")
    return cast(dict[str, Any], data)
