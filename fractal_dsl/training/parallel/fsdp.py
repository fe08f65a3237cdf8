"""FSDP: every process has a share of each mini-batch and of each weight (torch's ``fully_shard``)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from fractal_dsl.config import TrainConfig
from fractal_dsl.graph.graph import Join, Layer, Node
from fractal_dsl.plans.plan import Plan
from fractal_dsl.runtime.arguments import tensors_in
from fractal_dsl.runtime.artifact import read_weights
from fractal_dsl.runtime.counted import STEP
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.world import World
from fractal_dsl.tasks import Task
from fractal_dsl.training.parallel.shares import SharedBatchStepper


class ShardedStepper(SharedBatchStepper):
    """Gathers the weights of a layer when it runs, and scatters its gradients at once.

    A layer outside all plans of a step is not called, so nothing is sent for it. Gradients are scattered after each
    pass of a step, which saves memory.
    """

    sharded = True

    def __init__(
        self, model: FractalModule, task: Task, config: TrainConfig, device: torch.device, world: World
    ) -> None:
        mesh = init_device_mesh(device.type, (world.size,))
        for names in groups(model):
            fully_shard([model.get_submodule(name) for name in names], mesh=mesh)
        fully_shard(model, mesh=mesh)
        super().__init__(model, task, config, device, world)

    def _channels_last(self) -> None:
        """Only images change their layout: weights are gathered as they were before."""

    def _output(self, x: Tensor, plan: Plan) -> Tensor:
        return self.model(*tensors_in(x), plan)

    def weights(self) -> dict[str, Tensor]:
        whole = cast(dict[str, Tensor], get_model_state_dict(self.model, options=_WHOLE))
        return {name: value for name, value in whole.items() if name != STEP}

    def load_weights(self, file: Path) -> None:
        set_model_state_dict(self.model, cast(dict[str, Any], read_weights([file])), options=_WHOLE)


_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def groups(model: FractalModule) -> list[list[str]]:
    """Groups of modules with weights that always run together: consecutive ones of one base layer.

    Modules that run more than once per pass (shared weights) belong to no group, but to the whole net.
    """
    graph = model.join_graph
    made = [(i, node) for i, node in graph.items() if isinstance(node, Layer | Join) and node.module]
    uses = Counter(node.module for _, node in made)
    behind: dict[int, list[str]] = {}
    for number, node in made:
        before = graph.operands(number)
        joined = len(before) == 1 and len(graph.consumers(before[0])) == 1 and before[0] in behind
        group = behind[before[0]] if joined and _base(graph[before[0]]) == _base(node) is not None else []
        behind[number] = group
        weighted = graph.construction(number) is not None and any(
            True for _ in model.get_submodule(node.module).parameters()
        )
        if weighted and uses[node.module] == 1:
            group.append(node.module)
    return [list(names) for names in dict.fromkeys(tuple(group) for group in behind.values() if group)]


def _base(node: Node) -> int | None:
    return node.site.base if isinstance(node, Layer | Join) else None
