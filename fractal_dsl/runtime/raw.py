"""Builds what a run knows about its data into its net, which then maps raw inputs to outputs in the targets' unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from fractal_dsl.graph.passes import run_pass
from fractal_dsl.graph.passes.raw_ends import normalise_inputs, raw_ends, restore_outputs
from fractal_dsl.runtime.layers import Normalise, Restore
from fractal_dsl.runtime.module import FractalModule

ChannelMoments = tuple[Sequence[float], Sequence[float]]
"""Means and deviations by channel."""


def on_raw_data(
    model: FractalModule, inputs: Mapping[str, ChannelMoments], outputs: Mapping[str, ChannelMoments]
) -> FractalModule:
    """A net of the same modules that first normalises its inputs, and finally restores the unit of its outputs.

    ``inputs`` are the moments of each input's channels. Tokens are not normalised. ``outputs`` are those of the
    targets, the first axis of an output, and empty if it has no unit. The answer to raw inputs has the bits of the
    given net's answer to inputs that the data pipeline normalised.
    """
    given = {name: moments for name, moments in inputs.items() if model.inputs[name].dtype == "f32"}
    restored = {name: moments for name, moments in outputs.items() if moments[0]}
    graph = run_pass(normalise_inputs, model.join_graph, {name: len(mean) for name, (mean, _) in given.items()})
    graph = run_pass(restore_outputs, graph, {name: len(mean) for name, (mean, _) in restored.items()})
    modules = dict(model.modules_now().modules)
    for path, name in raw_ends(graph).items():
        kind, end, moments = (
            (Normalise, model.inputs[name], given[name])
            if name in given
            else (Restore, model.outputs[name], restored[name])
        )
        layer = modules[path] = kind(len(moments[0]), len(end.shape) - 1)
        for buffer, values in zip((layer.mean, layer.std), moments, strict=True):
            buffer.copy_(torch.tensor(values).reshape(buffer.shape))
    raw = FractalModule(graph, modules, model.seed)
    raw.step = model.step
    return raw.train(model.training)
