"""Packs a net for inference on a CPU: weights in the order in which oneDNN reads them, ReLUs inside the convolutions.

Otherwise oneDNN reorders the weights in each call, which takes most of the time of deep layers in small batches.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any, cast

import torch
from torch import Tensor, nn

from fractal_dsl.base.errors import UserError
from fractal_dsl.graph.graph import Join, JoinGraph, Layer
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.slim import own_hooks


class PackedConv2d(nn.Module):
    """A convolution with packed weights, and the ReLU behind it if there is one: [batch, channels, h, w] to the same.

    Its weights are fixed, and it gives no gradients. Raises UserError for inputs that need any, or are not float32 on a
    CPU.
    """

    def __init__(self, conv: nn.Conv2d, image: tuple[int, ...], relu: bool) -> None:
        super().__init__()
        self.where = [list(cast(tuple[int, ...], v)) for v in (conv.padding, conv.stride, conv.dilation)]
        self.groups, self.relu = conv.groups, "relu" if relu else "none"
        self.bias = None if conv.bias is None else conv.bias.detach().clone()
        reorder = torch.ops.mkldnn._reorder_convolution_weight
        size = [1, conv.in_channels, *image]  # a hint: other sizes run too
        self.weight = cast(Tensor, reorder(conv.weight.detach(), *self.where, conv.groups, size))

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad and torch.is_grad_enabled():
            raise UserError("a packed net gives no gradients: use the net that it was packed from")
        if x.dtype != torch.float32 or x.device.type != "cpu":
            raise UserError(f"a packed net takes float32 on a CPU, found {x.dtype} on {x.device}")
        run = torch.ops.mkldnn._convolution_pointwise
        return run(x, self.weight, self.bias, *self.where, self.groups, self.relu, [], "")

    def __deepcopy__(self, memo: dict[int, Any]) -> PackedConv2d:
        twin = PackedConv2d.__new__(PackedConv2d)
        rest = {name: value for name, value in vars(self).items() if name != "weight"}
        twin.__dict__ |= copy.deepcopy(rest, memo) | {"weight": self.weight}  # torch cannot copy packed weights
        return twin


def pack(model: FractalModule) -> FractalModule:
    """A copy of a net in eval mode whose convolutions are packed, for inference on this CPU.

    It answers as the net does, up to rounding. Fold batch norms before, with ``fuse``. Later changes of the net's
    weights do not reach the copy. Convolutions with hooks, other padding than zeros or other numbers than float32 stay
    as they are. Raises UserError if the net is in train mode.

    >>> fast = pack(fuse(model.extract(2)))
    """
    if model.training:
        raise UserError("only nets in eval mode can be packed: call `model.eval()` first")
    packed = copy.deepcopy(model)
    graph, modules = packed.join_graph, packed.modules_now().modules
    uses = Counter(node.module for _, node in graph.items() if isinstance(node, Layer | Join))
    for number, node in graph.items():
        if not isinstance(node, Layer) or uses[node.module] > 1 or not _fits(modules.get(node.module)):
            continue
        relu = _relu_behind(graph, modules, number, uses)
        conv = cast(nn.Conv2d, modules[node.module])
        packed.set_submodule(node.module, PackedConv2d(conv, node.into.shape[1:], relu is not None))
        if relu is not None:
            packed.set_submodule(relu, nn.Identity())
    return packed


def _fits(module: nn.Module | None) -> bool:
    """Whether a module is a convolution that oneDNN can pack."""
    if type(module) is not nn.Conv2d or own_hooks(module) or not torch.backends.mkldnn.is_available():
        return False
    plain = module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return plain and module.weight.dtype == torch.float32 and module.weight.device.type == "cpu"


def _relu_behind(graph: JoinGraph, modules: dict[str, nn.Module], number: int, uses: Counter[str]) -> str | None:
    """The name of the ReLU that alone reads a node and does nothing else."""
    readers = graph.consumers(number)
    if len(readers) != 1 or not isinstance(reader := graph[readers[0]], Layer) or reader.idle:
        return None
    relu: Any = modules.get(reader.module)
    alone = type(relu) is nn.ReLU and not own_hooks(relu) and uses[reader.module] == 1
    return reader.module if alone else None
