"""ExecuTorch, with the kernels of XNNPACK."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.utils._sympy.value_ranges import ValueRanges

from fractal_dsl import ops
from fractal_dsl.deploy.export.program import program_of

LARGEST = 64
"""The largest batch: ExecuTorch plans memory in advance."""


def write_executorch(nets: Mapping[str, nn.Module], inputs: Sequence[ops.Tensor], path: Path) -> None:
    """Write nets as the methods of one program."""
    exir: Any = import_module("executorch.exir")
    bounds: Any = import_module("executorch.exir.passes.sym_shape_eval_pass")
    xnnpack: Any = import_module("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    programs = {name: program_of(net, inputs, LARGEST) for name, net in nets.items()}
    edge = exir.to_edge_transform_and_lower(programs, partitioner=[xnnpack.XnnpackPartitioner()])
    for name in programs:
        for size in _symbolic_sizes(edge.exported_program(name).graph):
            # lowering narrows the range of the batch, for which memory is planned
            size.node.shape_env.var_to_range[size.node.expr] = ValueRanges(1, LARGEST)
    config = exir.ExecutorchBackendConfig(sym_shape_eval_pass=bounds.ConstraintBasedSymShapeEvalPass())
    path.write_bytes(edge.to_executorch(config).buffer)


def _symbolic_sizes(graph: torch.fx.Graph) -> Iterator[Any]:
    for node in graph.nodes:
        value: Any = node.meta.get("val")
        tensors: list[Any] = list(cast(Any, value)) if isinstance(value, list | tuple) else [value]
        for tensor in tensors:
            if isinstance(tensor, torch.Tensor):
                yield from (s for s in tensor.shape if isinstance(s, torch.SymInt) and s.node.expr.is_symbol)
