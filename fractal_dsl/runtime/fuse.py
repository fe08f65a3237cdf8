"""Folds a net's batch norms into the convolutions and linear layers before them."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fractal_dsl.graph.graph import Join, Layer
from fractal_dsl.graph.passes import run_pass
from fractal_dsl.graph.passes.fold_batchnorm import fold_batchnorm, foldable
from fractal_dsl.graph.passes.lone_whole import lone_whole
from fractal_dsl.plans.plan import FULL
from fractal_dsl.runtime.batchnorm import Routed
from fractal_dsl.runtime.bound import copied
from fractal_dsl.runtime.fit import check_modules
from fractal_dsl.runtime.module import FractalModule


def alone(model: FractalModule) -> FractalModule:
    """The whole net as a plain network: copies of its modules, with ordinary batch norms, and no columns.

    Its answers are those of the net in eval mode.
    """
    modules = copied(model.modules_now().modules)
    for module in modules.values():
        if isinstance(module, Routed):
            module.keep_route(FULL)
    return FractalModule(run_pass(lone_whole, model.join_graph), modules, model.seed).eval()


def fuse(model: FractalModule) -> FractalModule:
    """Fold the batch norms of a plain network (``extract``, ``alone``). The result is for inference, and equal up to
    rounding in eval mode.

    ``foldable`` says which layers stay as they are. The modules are copies of the net's current ones. Raises UserError
    if a layer or batch norm to be folded no longer matches the spec.
    """
    folds = foldable(model.join_graph)
    graph = run_pass(fold_batchnorm, model.join_graph, folds)
    paths = {number: node.module for number, node in model.join_graph.items() if isinstance(node, Layer)}
    norms = {paths[number]: paths[behind[-1]] for number, behind in folds.items()}
    ours = model.modules_now().modules
    kept = {node.module for _, node in graph.items() if isinstance(node, Layer | Join)}
    check_modules(model, sorted({*norms} | (ours.keys() - kept)), "folding batch norms")
    modules = copied({name: module for name, module in ours.items() if name in kept})
    for name, norm in norms.items():
        layer, folded = modules[name], _folded(ours[name], cast(_BatchNorm, ours[norm]))
        for parameter, value in zip(("weight", "bias"), folded, strict=True):
            layer.register_parameter(parameter, nn.Parameter(value))
    return FractalModule(graph, modules, model.seed).eval()


def _folded(layer: nn.Module, norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """The weight and bias of a layer that includes its batch norm, computed in float64 and rounded once."""
    weight = layer.get_parameter("weight")
    bias = dict(layer.named_parameters()).get("bias")
    assert norm.running_mean is not None and norm.running_var is not None
    given = (weight, bias, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    w, b, mean, var, scale, shift = (None if t is None else t.detach().double() for t in given)
    assert w is not None and mean is not None and var is not None
    # a linear layer's weight has the shape [out, in] of a convolution without axes
    transposed = isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
    folded = fuse_conv_bn_weights(w, b, mean, var, norm.eps, scale, shift, transposed)
    return cast(tuple[Tensor, Tensor], tuple(t.detach().to(weight.dtype) for t in folded))


def count_batchnorms(model: nn.Module) -> int:
    """The number of batch norms in a net."""
    return sum(isinstance(module, _BatchNorm) for module in model.modules())
