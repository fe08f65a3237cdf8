"""Batch norm over the mini-batches of all processes.

Torch's SyncBatchNorm runs on GPUs only and has no routes. Here the forward pass is torch's own batch norm with the mean
and variance of the whole mini-batch. Each direction sends one message of 2 numbers per channel (gradients as in Ioffe
and Szegedy 2015).
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from fractal_dsl.plans.plan import FULL
from fractal_dsl.runtime.batchnorm import Routed


def synchronise(model: nn.Module) -> None:
    """Let the batch norms of a model, routed or not, see the mini-batches of all processes in training.

    All processes must run the same layers in the same order, on mini-batches of one size.
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            cast(Any, module).forward = partial(_forward, module, module.forward)


def _forward(norm: _BatchNorm, alone: Any, x: Tensor, route: int = FULL) -> Tensor:
    """The forward pass of ``norm`` over all processes; ``alone`` is its original forward pass."""
    if not norm.training:
        return alone(x) if route == FULL else alone(x, route=route)
    cast(Any, norm)._check_input_dim(x)
    count = x.numel() // x.shape[1] * dist.get_world_size()
    if count == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {x.shape}")
    normalised, mean, var = cast(Any, _NormaliseTogether).apply(x, norm.weight, norm.bias, norm.eps)
    suffix = "" if route == FULL else f"_column{route}"
    if route == FULL and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    with torch.no_grad():
        momentum = _share(norm, route)
        norm.get_buffer(f"running_mean{suffix}").lerp_(mean, momentum)
        norm.get_buffer(f"running_var{suffix}").lerp_(var * (count / (count - 1)), momentum)
    return normalised


def _share(norm: _BatchNorm, route: int) -> float:
    """The share of this mini-batch in the running statistics of a route."""
    if norm.momentum is not None:
        return norm.momentum
    if isinstance(norm, Routed) and route != FULL:
        return norm.share(route)
    return 1 / int(cast(Tensor, norm.num_batches_tracked))


class _NormaliseTogether(torch.autograd.Function):
    """The normalised input, and the mean and the population variance by channel, in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, ...]:
        var, mean = torch.var_mean(_wide(x), _others(x), correction=0)
        own = torch.cat([mean, var])
        each = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(each, own)
        means, variances = torch.stack([pair.view(2, -1) for pair in each], 1)
        mean = means.mean(0)
        var = variances.mean(0) + (means - mean).square().mean(0)
        ctx.eps = eps
        ctx.save_for_backward(x, weight, mean, var)
        ctx.mark_non_differentiable(mean, var)
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps), mean, var

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        dy, dims, deviation = gradients[0], _others(x), (var + ctx.eps).rsqrt()
        shape = [1, -1] + [1] * (x.dim() - 2)
        standard = (_wide(x) - mean.view(shape)) * deviation.view(shape)
        dy = _wide(dy)
        own = torch.stack([dy.sum(dims), (dy * standard).sum(dims)])
        whole = own.clone()
        dist.all_reduce(whole)
        shift, slope = (whole / (x.numel() // x.shape[1] * dist.get_world_size())).view(2, *shape).unbind(0)
        scale = deviation if weight is None else deviation * weight
        dx = (dy - shift - standard * slope) * scale.view(shape)
        return dx.to(x.dtype), own[1] if weight is not None else None, own[0] if weight is not None else None, None


def _wide(x: Tensor) -> Tensor:
    """The tensor in at least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _others(x: Tensor) -> list[int]:
    """All axes except the channels."""
    return [axis for axis in range(x.dim()) if axis != 1]
