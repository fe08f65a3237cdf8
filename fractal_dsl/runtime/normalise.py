"""Takes the normalisation of a run's data into its net, which then answers raw inputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fractal_dsl.graph.passes import run_pass
from fractal_dsl.graph.passes.normalise_input import normalise_input, normaliser
from fractal_dsl.runtime.layers import Normalise
from fractal_dsl.runtime.module import FractalModule


def on_raw_inputs(model: FractalModule, mean: Sequence[float], std: Sequence[float]) -> FractalModule:
    """A net of the same modules that first normalises its input, by these means and deviations of its channels.

    The answer to raw inputs has the bits of the given net's answer to inputs that the data pipeline normalised. A net
    of tokens is returned as it is: tokens are never normalised.
    """
    if model.input.dtype != "f32":
        return model
    graph = run_pass(normalise_input, model.join_graph, len(mean))
    name = normaliser(graph)
    assert name is not None
    layer = Normalise(len(mean), len(model.input.shape) - 1)
    for buffer, values in ((layer.mean, mean), (layer.std, std)):
        buffer.copy_(torch.tensor(values).reshape(buffer.shape))
    raw = FractalModule(graph, {name: layer, **model.modules_now().modules}, model.seed)
    raw.step = model.step
    return raw.train(model.training)
