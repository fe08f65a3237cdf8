"""Checks that a net's modules still match its spec, because files are read back by the spec."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import Tensor, nn

from fractal_dsl.base.errors import UserError
from fractal_dsl.runtime.counted import STEP
from fractal_dsl.runtime.graph_to_fx import graph_to_modules, module_tree
from fractal_dsl.runtime.module import FractalModule


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name: the ``state_dict`` without the number of plans drawn."""
    return {name: value for name, value in model.state_dict().items() if name != STEP}


def check_modules(model: FractalModule, names: Iterable[str], doing: str) -> None:
    """Raise UserError if the class or the arguments of one of these modules no longer match the spec."""
    ours, specified = model.modules_now().modules, graph_to_modules(model.join_graph, "meta")
    for name in names:
        actual, expected = _text(ours[name]), _text(specified[name])
        if actual != expected:
            raise UserError(
                f"{name} is now {actual}, but its spec says {expected}: {doing} would lose the change. Change the "
                "spec, or restore the module. Merge adapters and undo parametrizations first"
            )


def check_fits(model: FractalModule, doing: str) -> None:
    """Raise UserError if a net's modules and weights do not match its spec, because ``doing`` would lose something."""
    specified = graph_to_modules(model.join_graph, "meta")
    check_modules(model, specified, doing)
    tree = module_tree(specified)
    ours, expected = tensors_of(model), tensors_of(tree)
    for name in sorted({*ours, *expected}):
        actual, specified_shape = (_shape(state.get(name)) for state in (ours, expected))
        if actual != specified_shape:
            raise UserError(
                f"the weights of net {model.join_graph.net} do not match its spec: {name} should be {specified_shape}, "
                f"but is {actual}, which {doing} would lose. Undo pruning and weight norms, with "
                "torch.nn.utils.prune.remove or remove_weight_norm, or change the spec"
            )
    if len([*model.parameters()]) != len([*tree.parameters()]):
        raise UserError(
            f"layers of net {model.join_graph.net} share weights, but not in its spec: {doing} would lose that. "
            "Declare a `shared` block in the spec"
        )


def _text(module: nn.Module) -> str:
    """The module with its arguments and submodules, without memory addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(module))


def _shape(value: Tensor | None) -> str:
    return "nothing" if value is None else f"a tensor of shape {list(value.shape)}"
