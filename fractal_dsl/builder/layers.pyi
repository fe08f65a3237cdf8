# Written by tests/test_builder_stubs.py from the specifications of the language; do not edit.

from collections.abc import Iterable, Sequence
from typing import Any, Literal, overload

from fractal_dsl.builder.values import Block, Join

class _conv1d:
    def __call__(
        self,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | Literal["same", "valid"] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
    ) -> Block: ...

conv1d: _conv1d

class _conv2d:
    def __call__(
        self,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | Literal["same", "valid"] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
    ) -> Block: ...

conv2d: _conv2d

class _conv3d:
    def __call__(
        self,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | Literal["same", "valid"] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
    ) -> Block: ...

conv3d: _conv3d

class _convtranspose1d:
    def __call__(
        self,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
    ) -> Block: ...

convtranspose1d: _convtranspose1d

class _convtranspose2d:
    def __call__(
        self,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
    ) -> Block: ...

convtranspose2d: _convtranspose2d

class _convtranspose3d:
    def __call__(
        self,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
    ) -> Block: ...

convtranspose3d: _convtranspose3d

class _stdconv2d:
    def __call__(
        self,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        gamma: float = ...,
        eps: float = 1e-06,
    ) -> Block: ...

stdconv2d: _stdconv2d

class _maxpool1d:
    def __call__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = ...,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        *,
        ceil_mode: bool = False,
    ) -> Block: ...

maxpool1d: _maxpool1d

class _maxpool2d:
    def __call__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = ...,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        *,
        ceil_mode: bool = False,
    ) -> Block: ...

maxpool2d: _maxpool2d

class _maxpool3d:
    def __call__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = ...,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        *,
        ceil_mode: bool = False,
    ) -> Block: ...

maxpool3d: _maxpool3d

class _avgpool1d:
    def __call__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = ...,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> Block: ...

avgpool1d: _avgpool1d

class _avgpool2d:
    def __call__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = ...,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int = ...,
    ) -> Block: ...

avgpool2d: _avgpool2d

class _avgpool3d:
    def __call__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = ...,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int = ...,
    ) -> Block: ...

avgpool3d: _avgpool3d

class _adaptivemaxpool1d:
    def __call__(self, output_size: int | Sequence[int]) -> Block: ...

adaptivemaxpool1d: _adaptivemaxpool1d

class _adaptivemaxpool2d:
    def __call__(self, output_size: int | Sequence[int]) -> Block: ...

adaptivemaxpool2d: _adaptivemaxpool2d

class _adaptivemaxpool3d:
    def __call__(self, output_size: int | Sequence[int]) -> Block: ...

adaptivemaxpool3d: _adaptivemaxpool3d

class _adaptiveavgpool1d:
    def __call__(self, output_size: int | Sequence[int]) -> Block: ...

adaptiveavgpool1d: _adaptiveavgpool1d

class _adaptiveavgpool2d:
    def __call__(self, output_size: int | Sequence[int]) -> Block: ...

adaptiveavgpool2d: _adaptiveavgpool2d

class _adaptiveavgpool3d:
    def __call__(self, output_size: int | Sequence[int]) -> Block: ...

adaptiveavgpool3d: _adaptiveavgpool3d

class _batchnorm1d(Block):
    def __call__(self, eps: float = 1e-05, momentum: float = 0.1, affine: bool = True) -> Block: ...

batchnorm1d: _batchnorm1d

class _batchnorm2d(Block):
    def __call__(self, eps: float = 1e-05, momentum: float = 0.1, affine: bool = True) -> Block: ...

batchnorm2d: _batchnorm2d

class _batchnorm3d(Block):
    def __call__(self, eps: float = 1e-05, momentum: float = 0.1, affine: bool = True) -> Block: ...

batchnorm3d: _batchnorm3d

class _instancenorm1d(Block):
    def __call__(self, eps: float = 1e-05, *, affine: bool = False) -> Block: ...

instancenorm1d: _instancenorm1d

class _instancenorm2d(Block):
    def __call__(self, eps: float = 1e-05, *, affine: bool = False) -> Block: ...

instancenorm2d: _instancenorm2d

class _instancenorm3d(Block):
    def __call__(self, eps: float = 1e-05, *, affine: bool = False) -> Block: ...

instancenorm3d: _instancenorm3d

class _groupnorm:
    def __call__(self, num_groups: int, eps: float = 1e-05, affine: bool = True) -> Block: ...

groupnorm: _groupnorm

class _layernorm(Block):
    def __call__(self, eps: float = 1e-05, elementwise_affine: bool = True, bias: bool = True) -> Block: ...

layernorm: _layernorm

class _layernorm2d(Block):
    def __call__(self, eps: float = 1e-05, elementwise_affine: bool = True, bias: bool = True) -> Block: ...

layernorm2d: _layernorm2d

class _rmsnorm(Block):
    def __call__(self, eps: float = ..., elementwise_affine: bool = True) -> Block: ...

rmsnorm: _rmsnorm

class _scale(Block):
    def __call__(self, init: float = 1.0, dim: int = 1) -> Block: ...

scale: _scale

class _shift(Block):
    def __call__(self, init: float = 0.0, dim: int = 1) -> Block: ...

shift: _shift

class _times:
    def __call__(self, factor: float) -> Block: ...

times: _times

class _plus:
    def __call__(self, term: float) -> Block: ...

plus: _plus

class _power:
    def __call__(self, exponent: float) -> Block: ...

power: _power

class _exp(Block):
    def __call__(self) -> Block: ...

exp: _exp

class _clamp(Block):
    def __call__(self, min: float = ..., max: float = ...) -> Block: ...

clamp: _clamp

class _localresponsenorm:
    def __call__(self, size: int, alpha: float = 0.0001, beta: float = 0.75, k: float = 1.0) -> Block: ...

localresponsenorm: _localresponsenorm

class _normalize(Block):
    def __call__(self, dim: int = 1, eps: float = 1e-12) -> Block: ...

normalize: _normalize

class _dropout(Block):
    def __call__(self, p: float = 0.5) -> Block: ...

dropout: _dropout

class _dropout1d(Block):
    def __call__(self, p: float = 0.5) -> Block: ...

dropout1d: _dropout1d

class _dropout2d(Block):
    def __call__(self, p: float = 0.5) -> Block: ...

dropout2d: _dropout2d

class _dropout3d(Block):
    def __call__(self, p: float = 0.5) -> Block: ...

dropout3d: _dropout3d

class _linear:
    def __call__(self, out_features: int, bias: bool = True) -> Block: ...

linear: _linear

class _flatten(Block):
    def __call__(self, start_dim: int = 1, end_dim: int = -1) -> Block: ...

flatten: _flatten

class _transpose:
    def __call__(self, dim0: int, dim1: int) -> Block: ...

transpose: _transpose

class _permute:
    def __call__(self, dims: int | Sequence[int]) -> Block: ...

permute: _permute

class _reshape:
    def __call__(self, shape: int | Sequence[int]) -> Block: ...

reshape: _reshape

class _slice:
    def __call__(self, dim: int, start: int = 0, stop: int = ..., step: int = 1) -> Block: ...

slice: _slice

class _roll:
    def __call__(self, shifts: int | Sequence[int], dims: int | Sequence[int]) -> Block: ...

roll: _roll

class _channel_shuffle:
    def __call__(self, groups: int) -> Block: ...

channel_shuffle: _channel_shuffle

class _embedding:
    def __call__(self, num_embeddings: int, embedding_dim: int, padding_idx: int = ...) -> Block: ...

embedding: _embedding

class _positions(Block):
    def __call__(self) -> Block: ...

positions: _positions

class _class_token(Block):
    def __call__(self, count: int = 1) -> Block: ...

class_token: _class_token

class _parameter:
    def __call__(self, shape: int | Sequence[int], std: float = 0.02) -> Block: ...

parameter: _parameter

class _distances:
    def __call__(
        self,
        window_size: int | Sequence[int],
        scale: Literal["linear", "log", "log8"] = "linear",
        extent: int | Sequence[int] = ...,
    ) -> Block: ...

distances: _distances

class _pairs:
    def __call__(
        self, window_size: int | Sequence[int], *, absolute: bool = False, stride: int = 1, class_token: bool = False
    ) -> Block: ...

pairs: _pairs

class _window_mask:
    def __call__(
        self, image_size: int | Sequence[int], window_size: int | Sequence[int], shift_size: int | Sequence[int]
    ) -> Block: ...

window_mask: _window_mask

class _last_step(Block):
    def __call__(self) -> Block: ...

last_step: _last_step

class _sequence_mean(Block):
    def __call__(self) -> Block: ...

sequence_mean: _sequence_mean

class _attention:
    def __call__(
        self,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        causal: bool = False,
        kv_heads: int = ...,
        window: int = ...,
        rotary: bool = False,
    ) -> Block: ...

attention: _attention

class _window_attention:
    def __call__(
        self,
        num_heads: int,
        window_size: int | Sequence[int],
        shift_size: int | Sequence[int] = 0,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> Block: ...

window_attention: _window_attention

class _rnn:
    def __call__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        *,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> Block: ...

rnn: _rnn

class _lstm:
    def __call__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        *,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
    ) -> Block: ...

lstm: _lstm

class _gru:
    def __call__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        *,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> Block: ...

gru: _gru

class _global_avgpool(Block):
    def __call__(self) -> Block: ...

global_avgpool: _global_avgpool

class _project:
    def __call__(self, out: int, stride: int = 1) -> Block: ...

project: _project

class _upsample:
    def __call__(
        self,
        scale_factor: float | Sequence[float],
        *,
        mode: Literal["nearest", "linear", "bilinear", "bicubic", "trilinear"] = "nearest",
        align_corners: bool = False,
    ) -> Block: ...

upsample: _upsample

class _zeropad1d:
    def __call__(self, padding: int | Sequence[int]) -> Block: ...

zeropad1d: _zeropad1d

class _zeropad2d:
    def __call__(self, padding: int | Sequence[int]) -> Block: ...

zeropad2d: _zeropad2d

class _zeropad3d:
    def __call__(self, padding: int | Sequence[int]) -> Block: ...

zeropad3d: _zeropad3d

class _constantpad1d:
    def __call__(self, padding: int | Sequence[int], value: float) -> Block: ...

constantpad1d: _constantpad1d

class _constantpad2d:
    def __call__(self, padding: int | Sequence[int], value: float) -> Block: ...

constantpad2d: _constantpad2d

class _constantpad3d:
    def __call__(self, padding: int | Sequence[int], value: float) -> Block: ...

constantpad3d: _constantpad3d

class _pixelshuffle:
    def __call__(self, upscale_factor: int) -> Block: ...

pixelshuffle: _pixelshuffle

class _pixelunshuffle:
    def __call__(self, downscale_factor: int) -> Block: ...

pixelunshuffle: _pixelunshuffle

class _id(Block):
    def __call__(self) -> Block: ...

id: _id

class _relu(Block):
    def __call__(self) -> Block: ...

relu: _relu

class _relu6(Block):
    def __call__(self) -> Block: ...

relu6: _relu6

class _selu(Block):
    def __call__(self) -> Block: ...

selu: _selu

class _silu(Block):
    def __call__(self) -> Block: ...

silu: _silu

class _mish(Block):
    def __call__(self) -> Block: ...

mish: _mish

class _sigmoid(Block):
    def __call__(self) -> Block: ...

sigmoid: _sigmoid

class _tanh(Block):
    def __call__(self) -> Block: ...

tanh: _tanh

class _hardswish(Block):
    def __call__(self) -> Block: ...

hardswish: _hardswish

class _hardsigmoid(Block):
    def __call__(self) -> Block: ...

hardsigmoid: _hardsigmoid

class _softplus(Block):
    def __call__(self, beta: float = 1.0, threshold: float = 20.0) -> Block: ...

softplus: _softplus

class _leakyrelu(Block):
    def __call__(self, negative_slope: float = 0.01) -> Block: ...

leakyrelu: _leakyrelu

class _elu(Block):
    def __call__(self, alpha: float = 1.0) -> Block: ...

elu: _elu

class _gelu(Block):
    def __call__(self, approximate: Literal["none", "tanh"] = "none") -> Block: ...

gelu: _gelu

class _softmax(Block):
    def __call__(self, dim: int = -1) -> Block: ...

softmax: _softmax

class _prelu(Block):
    def __call__(self, num_parameters: int = 1, init: float = 0.25) -> Block: ...

prelu: _prelu

class _glu(Block):
    def __call__(self, dim: int = -1) -> Block: ...

glu: _glu

class _logsoftmax(Block):
    def __call__(self, dim: int = -1) -> Block: ...

logsoftmax: _logsoftmax

class _mean(Join):
    @overload
    def __call__(self, first: Block | Iterable[Block], /, *branches: Block | Iterable[Block]) -> Block: ...
    @overload
    def __call__(self) -> Join: ...

mean: _mean

class _sum(Join):
    @overload
    def __call__(self, first: Block | Iterable[Block], /, *branches: Block | Iterable[Block]) -> Block: ...
    @overload
    def __call__(self) -> Join: ...

sum: _sum

class _product(Join):
    @overload
    def __call__(self, first: Block | Iterable[Block], /, *branches: Block | Iterable[Block]) -> Block: ...
    @overload
    def __call__(self) -> Join: ...

product: _product

class _max(Join):
    @overload
    def __call__(self, first: Block | Iterable[Block], /, *branches: Block | Iterable[Block]) -> Block: ...
    @overload
    def __call__(self) -> Join: ...

max: _max

class _min(Join):
    @overload
    def __call__(self, first: Block | Iterable[Block], /, *branches: Block | Iterable[Block]) -> Block: ...
    @overload
    def __call__(self) -> Join: ...

min: _min

class _concat(Join):
    @overload
    def __call__(
        self, first: Block | Iterable[Block], /, *branches: Block | Iterable[Block], dim: int = 1
    ) -> Block: ...
    @overload
    def __call__(self, dim: int = 1) -> Join: ...

concat: _concat

class _gated(Join):
    @overload
    def __call__(
        self, first: Block | Iterable[Block], /, *branches: Block | Iterable[Block], init: float = 0.0
    ) -> Block: ...
    @overload
    def __call__(self, init: float = 0.0) -> Join: ...

gated: _gated

class _matmul(Join):
    @overload
    def __call__(self, first: Block | Iterable[Block], /, *branches: Block | Iterable[Block]) -> Block: ...
    @overload
    def __call__(self) -> Join: ...

matmul: _matmul

class _attend(Join):
    @overload
    def __call__(
        self,
        first: Block | Iterable[Block],
        /,
        *branches: Block | Iterable[Block],
        scale: float = ...,
        causal: bool = False,
    ) -> Block: ...
    @overload
    def __call__(self, scale: float = ..., causal: bool = False) -> Join: ...

attend: _attend

class _Torch:
    def __getattr__(self, name: str) -> Any: ...

nn: _Torch

__all__ = [
    "adaptiveavgpool1d",
    "adaptiveavgpool2d",
    "adaptiveavgpool3d",
    "adaptivemaxpool1d",
    "adaptivemaxpool2d",
    "adaptivemaxpool3d",
    "attend",
    "attention",
    "avgpool1d",
    "avgpool2d",
    "avgpool3d",
    "batchnorm1d",
    "batchnorm2d",
    "batchnorm3d",
    "channel_shuffle",
    "clamp",
    "class_token",
    "concat",
    "constantpad1d",
    "constantpad2d",
    "constantpad3d",
    "conv1d",
    "conv2d",
    "conv3d",
    "convtranspose1d",
    "convtranspose2d",
    "convtranspose3d",
    "distances",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "elu",
    "embedding",
    "exp",
    "flatten",
    "gated",
    "gelu",
    "global_avgpool",
    "glu",
    "groupnorm",
    "gru",
    "hardsigmoid",
    "hardswish",
    "id",
    "instancenorm1d",
    "instancenorm2d",
    "instancenorm3d",
    "last_step",
    "layernorm",
    "layernorm2d",
    "leakyrelu",
    "linear",
    "localresponsenorm",
    "logsoftmax",
    "lstm",
    "matmul",
    "max",
    "maxpool1d",
    "maxpool2d",
    "maxpool3d",
    "mean",
    "min",
    "mish",
    "nn",
    "normalize",
    "pairs",
    "parameter",
    "permute",
    "pixelshuffle",
    "pixelunshuffle",
    "plus",
    "positions",
    "power",
    "prelu",
    "product",
    "project",
    "relu",
    "relu6",
    "reshape",
    "rmsnorm",
    "rnn",
    "roll",
    "scale",
    "selu",
    "sequence_mean",
    "shift",
    "sigmoid",
    "silu",
    "slice",
    "softmax",
    "softplus",
    "stdconv2d",
    "sum",
    "tanh",
    "times",
    "transpose",
    "upsample",
    "window_attention",
    "window_mask",
    "zeropad1d",
    "zeropad2d",
    "zeropad3d",
]
