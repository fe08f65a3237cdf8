"""ONNX, by torch's exporter on top of ``torch.export``."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

OPSET = 20


def onnx_of(
    net: nn.Module, examples: tuple[torch.Tensor, ...], inputs: list[str], outputs: list[str], *, fuse: bool = True
) -> Any:
    """A net as an ONNX ``ModelProto`` with these names of inputs and outputs. The first axis of each is dynamic.

    A net with ``variadic`` takes its inputs as ``*inputs``. Constants are folded. ``fuse`` also fuses batch norms with
    the layers before them.
    """
    batch = torch.export.Dim("batch", min=1)
    shapes = tuple({0: batch} for _ in examples)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(
            net,
            examples,
            dynamo=True,
            dynamic_shapes=(shapes,) if getattr(net, "variadic", False) else shapes,
            input_names=inputs,
            output_names=outputs,
            opset_version=OPSET,
            optimize=fuse,
            verbose=False,
        )
    proto = program.model_proto
    if not fuse:
        optimizer: Any = import_module("onnxscript.optimizer")
        optimizer.fold_constants(proto)
        optimizer.remove_unused_nodes(proto)
    for node in proto.graph.node:  # where the node is from in Python, which takes more room than small weights
        del node.metadata_props[:]
        node.doc_string = ""
    return proto


def save_onnx(proto: Any, path: Path) -> None:
    """Write a model as one file; a model of 2 GB or more keeps its weights in a second file beside it."""
    onnx: Any = import_module("onnx")
    del proto.metadata_props[:]
    large = proto.ByteSize() >= 2**31 - 2**20
    options = {"save_as_external_data": True, "location": f"{path.name}.data"} if large else {}
    onnx.save_model(proto, path, **options)
