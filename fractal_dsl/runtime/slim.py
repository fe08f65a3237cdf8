"""ReLU and max pooling that save less for the backward pass than torch's own.

Torch's ReLU saves its result and its max pooling saves its input, because usually the next layer saves them anyway. In
a fractal net the next node is often a join, which saves nothing. Then a ReLU needs only one byte per value, not four,
to know where it was positive. A max pooling needs only the shape of its input, and two bytes for each of its results.

Gradients are torch's own, bit for bit, also where they are infinite or not a number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.module import _has_any_global_hook  # pyright: ignore[reportPrivateUsage]


class _Relu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out = x.clamp_min(0)
        ctx.save_for_backward(out.bool())  # five times as fast as a comparison
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (passed,) = ctx.saved_tensors
        bits = _BITS.get(grads[0].dtype)
        if bits is None or torch.is_grad_enabled():  # the backward pass is to have a derivative
            return torch.where(passed, grads[0], 0)
        return grads[0].view(bits).mul(passed).view(grads[0].dtype)  # ten times as fast on CPUs


_BITS = {
    torch.float32: torch.int32,
    torch.float64: torch.int64,
    torch.bfloat16: torch.int16,
    torch.float16: torch.int16,
}
"""The integers with as many bits as the floats."""


class _MaxPool2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *options: Any) -> Tensor:
        ctx.options = options
        ctx.like = x.shape, x.stride(), x.dtype
        first = x.is_contiguous()
        if first and x.device.type == "cpu" and x.shape[1] >= _FEW:
            out, indices = _pool(x.contiguous(memory_format=torch.channels_last), *options)
            out = out.contiguous()
        else:
            out, indices = _pool(x, *options)
        layout = torch.contiguous_format if first else torch.preserve_format
        ctx.save_for_backward(indices.to(_index_type(x, indices), memory_format=layout))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (indices,) = ctx.saved_tensors
        shape, stride, dtype = ctx.like
        like = torch.empty_strided(shape, stride, dtype=dtype, device=grads[0].device)  # its values are not read
        grad = torch.ops.aten.max_pool2d_with_indices_backward.default(grads[0], like, *ctx.options, indices.long())
        return grad, *[None] * len(ctx.options)


def _index_type(x: Tensor, indices: Tensor) -> torch.dtype:
    """The type in which the places of the maxima are kept. Changing it takes two kernels, which a GPU spares few."""
    if x.device.type != "cpu" and indices.numel() < _MANY:
        return torch.int64
    return torch.int16 if x.shape[2] * x.shape[3] <= 2**15 else torch.int32


_pool = torch.ops.aten.max_pool2d_with_indices.default
_MANY = 2**20
"""Results of a pooling that a GPU keeps in a small type."""
_FEW = 4
"""Channels from which on, on a CPU, torch pools with channels last in a half to a quarter of the time, including the
change of layout."""


class Slim:
    """Calls the slim form of a module.

    It calls the module itself if no gradient is needed, the module has hooks, or its attributes do not suit the form.
    """

    def __init__(self, module: nn.Module, form: Callable[[Any, Tensor], Tensor], fits: Callable[[Any], bool]) -> None:
        self.module, self.form, self.fits = module, form, fits
        self.modules = (module,)

    def __call__(self, x: Tensor) -> Tensor:
        module = self.module
        if (
            isinstance(x, fx.Proxy)
            or hooked(module)
            or not (x.requires_grad and torch.is_grad_enabled() and self.fits(module))
            or cast(Any, torch)._C._are_functorch_transforms_active()
        ):
            return module(x)
        return self.form(module, x)


class PooledRelu:
    """Calls a ReLU and the max pooling of its result, which give the same numbers and gradients in either order. The
    pooling comes first, because it leaves the ReLU less to do, unless a module has hooks or was changed."""

    def __init__(self, relu: Slim, pool: Slim, last: Callable[[Tensor], Tensor] | None = None) -> None:
        self.relu, self.pool = relu, pool
        self.last = last or relu.module
        self.modules = (relu.module, pool.module)

    def slim(self) -> PooledRelu:
        """The same with the ReLU's slim form, which pays if nothing else saves the result."""
        return PooledRelu(self.relu, self.pool, self.relu)

    def __call__(self, x: Tensor) -> Tensor:
        for call in (self.relu, self.pool):
            if isinstance(x, fx.Proxy) or hooked(call.module) or not call.fits(call.module):
                return self.pool(self.relu(x))
        return self.last(self.pool(x))


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def hooked(module: nn.Module) -> bool:
    """Whether a call of a module runs hooks, its own or global ones."""
    return own_hooks(module) or bool(cast(Any, _has_any_global_hook)())


def own_hooks(module: nn.Module) -> bool:
    """Whether a module has hooks of its own."""
    return any(getattr(module, hooks) for hooks in _HOOKS)


def slim_relu(module: nn.Module) -> Slim | None:
    """The slim form of a ReLU, which pays if nothing else saves the result. None for other modules."""
    if type(module) is not nn.ReLU or module.inplace:
        return None
    return Slim(module, lambda _, x: cast(Any, _Relu).apply(x), lambda m: not m.inplace)


def slim_pool(module: nn.Module) -> Slim | None:
    """The slim form of a two-dimensional max pooling. None for other modules."""
    if type(module) is not nn.MaxPool2d or module.return_indices:
        return None
    return Slim(module, _pooled, lambda m: not m.return_indices)


def lone_pool(module: nn.Module) -> Slim | None:
    """The form of a two-dimensional max pooling for a column alone, whose poolings keep little. None for other modules.

    It is torch's own, which is faster for small images, except where the slim form changes their layout.
    """
    slim = slim_pool(module)
    return slim and Slim(module, lambda m, x: _pooled(m, x) if x.is_contiguous() else m(x), slim.fits)


def _pooled(pool: nn.MaxPool2d, x: Tensor) -> Tensor:
    options = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    pairs = [list(v) if isinstance(v, tuple) else [v, v] for v in options]
    return cast(Any, _MaxPool2d).apply(x, *pairs, pool.ceil_mode)
