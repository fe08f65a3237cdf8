"""ONNX, by torch's exporter on top of ``torch.export``."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fractal_dsl.deploy.export.products import with_products
from fractal_dsl.deploy.export.program import examples_of, fastest
from fractal_dsl.deploy.nets import Ends
from fractal_dsl.deploy.runtimes import load_exported

CHOSEN = "chosen by ONNX Runtime"
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


def plain_onnx(net: nn.Module, ends: Ends) -> Any:
    """A plain net as an ONNX model."""
    return onnx_of(net, examples_of([*ends.inputs.values()], 2), [*ends.inputs], [*ends.outputs])


def fastest_onnx(net: nn.Module, ends: Ends, batch: int, threads: int) -> tuple[Any, str]:
    """A plain net as an ONNX model, and its layout: the faster one in ONNX Runtime, in batches of this size.

    The runtime chooses the layout of convolutions, but does not turn small ones into matrix products.
    """
    inputs = [*ends.inputs.values()]
    proto = plain_onnx(net, ends)
    changed = with_products(net, examples_of(inputs, 2))
    if changed is None:
        return proto, CHOSEN
    protos = {CHOSEN: proto, "small convolutions as products": plain_onnx(changed, ends)}
    x = tuple([one.numpy() for one in examples_of(inputs, batch)])
    with tempfile.TemporaryDirectory() as folder:
        calls: dict[str, Callable[[], object]] = {}
        for number, (name, one) in enumerate(protos.items()):
            path = Path(folder) / f"{number}.onnx"
            save_onnx(one, path)
            run = load_exported("onnx", str(path), [], threads)
            calls[name] = lambda run=run: run(x, 0.0)
        layout = fastest(calls)
    return protos[layout], layout


def save_onnx(proto: Any, path: Path) -> None:
    """Write a model as one file; a model of 2 GB or more keeps its weights in a second file beside it."""
    onnx: Any = import_module("onnx")
    del proto.metadata_props[:]
    large = proto.ByteSize() >= 2**31 - 2**20
    options = {"save_as_external_data": True, "location": f"{path.name}.data"} if large else {}
    onnx.save_model(proto, path, **options)
