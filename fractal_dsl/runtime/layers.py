"""Layers that torch.nn lacks. ``model.py`` files contain the source of these classes, so that they need only torch."""

from __future__ import annotations

import torch
from torch import nn

from fractal_dsl.runtime.attentions import Attention as Attention
from fractal_dsl.runtime.attentions import GroupedAttention as GroupedAttention
from fractal_dsl.runtime.attentions import WindowAttention as WindowAttention


class Normalise(nn.Module):
    """Normalises raw inputs, bytes or floats, by channel: [batch, channels, …] to the same shape."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, channels: int, axes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, *(1,) * axes))
        self.register_buffer("std", torch.ones(channels, *(1,) * axes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.float() - self.mean) / self.std


class Restore(nn.Module):
    """Gives outputs in the unit of the targets, by channel: [batch, channels, …] to the same shape."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, channels: int, axes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, *(1,) * axes))
        self.register_buffer("std", torch.ones(channels, *(1,) * axes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.std + self.mean


class GlobalAvgPool(nn.Module):
    """The mean over all axes after the channels: [batch, channels, …] to [batch, channels]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2).mean(2)


class Transpose(nn.Module):
    """Two axes of a tensor swapped; axis 0 is the batch."""

    def __init__(self, dim0: int, dim1: int) -> None:
        super().__init__()
        self.dim0, self.dim1 = dim0, dim1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(self.dim0, self.dim1)


class Permute(nn.Module):
    """The axes of a tensor in another order; axis 0, the batch, stays and is not in ``dims``."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, *self.dims)


class Reshape(nn.Module):
    """The numbers of each example in the axes of ``shape``."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(x.shape[0], *self.shape)


class Slice(nn.Module):
    """Every ``step``-th number of an axis, from ``start`` to before ``stop``; axis 0 is the batch."""

    def __init__(self, dim: int, start: int, stop: int, step: int = 1) -> None:
        super().__init__()
        self.dim, self.start, self.stop, self.step = dim, start, stop, step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.step != 1:
            return x[(slice(None),) * self.dim + (slice(self.start, self.stop, self.step),)]
        return x.narrow(self.dim, self.start, self.stop - self.start)


class Roll(nn.Module):
    """A tensor rotated along some axes; axis 0 is the batch."""

    def __init__(self, shifts: tuple[int, ...], dims: tuple[int, ...]) -> None:
        super().__init__()
        self.shifts, self.dims = shifts, dims

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.roll(self.shifts, self.dims)


class ChannelShuffle(nn.Module):
    """The channels of some groups in turn (Zhang et al. 2018): [batch, channels, …] to the same shape."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack(x.tensor_split(self.groups, 1), 2).flatten(1, 2)


class Scale(nn.Module):
    """A learned factor for each of the numbers on an axis, which has ``after`` axes behind it."""

    def __init__(self, features: int, after: int, init: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((features,), init))
        self.after = after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight.reshape(-1, *(1,) * self.after)


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of each pixel: [batch, channels, height, width] to the same shape."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ClassToken(nn.Module):
    """Learned vectors before the first position: [batch, length, features] to [batch, length + count, features]."""

    def __init__(self, features: int, count: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(count, features) * 0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.weight.expand(x.shape[0], -1, -1), x], 1)


class TiedEmbedding(nn.Embedding):
    """An embedding whose weights also score vectors: whole numbers […] to vectors […, features], and vectors to one
    score for each number, their products with its vector (Press and Wolf 2017)."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if input.is_floating_point():
            return nn.functional.linear(input, self.weight)
        return super().forward(input)


class LastStep(nn.Module):
    """The last position: [batch, length, features] to [batch, features]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, -1]


class SequenceMean(nn.Module):
    """The mean over positions: [batch, length, features] to [batch, features]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1)


class DropExamples(nn.Module):
    """In training, zeros for each example of a mini-batch with probability ``p``; the others are divided by 1 - p
    (stochastic depth, Huang et al. 2016, by example)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        kept = torch.rand([len(x)] + [1] * (x.dim() - 1), device=x.device) >= self.p
        return x * kept / (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Positions(nn.Module):
    """Adds a learned number to each number of an example, such as a vector to each position of a sequence."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape) * 0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.weight


class Recurrent(nn.Module):
    """The outputs of an RNN, LSTM or GRU: [batch, length, features] to [batch, length, hidden]."""

    def __init__(self, kind: str, features: int, hidden_size: int, num_layers: int = 1, **options: object) -> None:
        super().__init__()
        self.layer = getattr(nn, kind)(features, hidden_size, num_layers, batch_first=True, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]


class Place(nn.Module):
    """Pads one axis with zeros: puts a single operand of a concatenation into its place."""

    def __init__(self, dim: int, before: int, after: int) -> None:
        super().__init__()
        self.dim, self.before, self.after = dim, before, after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padding = [0, 0] * (x.dim() - self.dim - 1) + [self.before, self.after]
        return nn.functional.pad(x, padding)


class Gated(nn.Module):
    """The sum of tensors of one shape, weighted by the softmax of learned logits.

    ``live`` gives the indices of the operands if some are dropped.
    """

    def __init__(self, operands: int, init: float = 0.0) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.full((operands,), init))

    def forward(self, *operands: torch.Tensor, live: list[int] | None = None) -> torch.Tensor:
        weights = (self.logits if live is None else self.logits[live]).softmax(0)
        total = weights[0] * operands[0]
        for i in range(1, len(operands)):
            total = total + weights[i] * operands[i]
        return total
