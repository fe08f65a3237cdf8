"""Builds what a run knows about its data into its net, which then maps raw inputs to outputs in the targets' unit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from fractal_dsl.graph.graph import JoinGraph
from fractal_dsl.graph.passes import run_pass
from fractal_dsl.graph.passes.raw_ends import normalise_input, raw_ends, restore_output
from fractal_dsl.runtime.layers import Normalise, Restore
from fractal_dsl.runtime.module import FractalModule

ChannelMoments = tuple[Sequence[float], Sequence[float]]
"""Means and deviations by channel."""


def on_raw_data(model: FractalModule, inputs: ChannelMoments, outputs: ChannelMoments = ((), ())) -> FractalModule:
    """A net of the same modules that first normalises its input, and finally restores the unit of its output.

    ``inputs`` are the moments of the inputs' channels. Tokens are not normalised. ``outputs`` are those of the targets,
    the first axis of the output, and empty if outputs have no unit. The answer to raw inputs has the bits of the given
    net's answer to inputs that the data pipeline normalised.
    """
    graph, modules = model.join_graph, dict(model.modules_now().modules)
    if model.input.dtype == "f32":
        graph = run_pass(normalise_input, graph, len(inputs[0]))
        modules |= _added(graph, modules, Normalise(len(inputs[0]), len(model.input.shape) - 1), inputs)
    if outputs[0]:
        graph = run_pass(restore_output, graph, len(outputs[0]))
        modules |= _added(graph, modules, Restore(len(outputs[0]), len(model.output.shape) - 1), outputs)
    raw = FractalModule(graph, modules, model.seed)
    raw.step = model.step
    return raw.train(model.training)


def _added(
    graph: JoinGraph, modules: dict[str, nn.Module], layer: Normalise | Restore, moments: ChannelMoments
) -> dict[str, nn.Module]:
    """The layer with its moments, under the name that the graph has for it."""
    for buffer, values in zip((layer.mean, layer.std), moments, strict=True):
        buffer.copy_(torch.tensor(values).reshape(buffer.shape))
    [name] = raw_ends(graph) - modules.keys()
    return {name: layer}
