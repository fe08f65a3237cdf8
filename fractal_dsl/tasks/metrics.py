"""The metrics of evaluation, by torchmetrics, which is imported only here, and only when it is needed.

Importing it takes longer than a small evaluation, most of it for ``scipy.signal`` and torchvision, which only metrics
of sounds and of generated images use. A torchvision that was built for another torch cannot be imported at all. So
torchmetrics is imported as if neither were installed.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor

from fractal_dsl.runtime.world import World

if TYPE_CHECKING:
    from torchmetrics import Metric

_UNUSED = ("torchvision", "scipy.signal")


def metric(name: str, *args: Any, **options: Any) -> Metric:
    """A new metric of torchmetrics that adds up in float64 and leaves processes to the meter."""
    with _without_unused():
        import torchmetrics
        import torchmetrics.classification

    kind = getattr(torchmetrics.classification, name, None) or getattr(torchmetrics, name)
    return kind(*args, sync_on_compute=False, **options).set_dtype(torch.float64)


class Judge(Protocol):
    """The part of a task that a meter needs."""

    def losses(self, output: Tensor, targets: Tensor) -> Tensor:
        """The loss of each example [batch]."""
        ...

    def metrics(self) -> dict[str, Metric]:
        """New metrics by name."""
        ...

    def measured(self, output: Tensor, targets: Tensor) -> dict[str, tuple[Tensor, ...]]:
        """The arguments of each metric's update, by name."""
        ...

    def figures(self, values: dict[str, float]) -> dict[str, float]:
        """The figures of the task by key, from the values of the metrics by name."""
        ...


class Meter:
    """Adds up what the loss and the metrics of a task need, over mini-batches and processes, in float64."""

    def __init__(self, task: Judge) -> None:
        self.task, self.metrics = task, task.metrics()
        self.sums = torch.zeros(2, dtype=torch.float64)

    def update(self, output: Tensor, targets: Tensor) -> None:
        """Add the outputs and targets [batch, …] of a mini-batch."""
        if output.device.type == "mps":  # it has no float64
            output, targets = output.cpu(), targets.cpu()
        total = float(self.task.losses(output, targets).double().sum())
        self.sums += torch.tensor([total, len(targets)], dtype=torch.float64)
        for name, values in self.task.measured(output, targets).items():
            self.metrics[name].to(output.device).update(*values)

    def compute(self, world: World) -> dict[str, float]:
        """``loss`` and the metrics, over all examples of all processes, which call this together."""
        total, count = world.sum(self.sums.clone()).unbind()
        loss = float(total / count)
        values = {name: _computed(m, world) for name, m in self.metrics.items()}
        if math.isfinite(loss):  # else undefined values are due to the outputs
            values = {name: 0.0 if math.isnan(value) else value for name, value in values.items()}
        return {"loss": loss} | self.task.figures(values)


def _computed(metric: Metric, world: World) -> float:
    """The value over all processes, in float64. It may be undefined, as for labels that never occur."""
    for name, value in metric.metric_state.items():
        if isinstance(value, list):
            parts = world.collect([x.cpu() for x in value])
            setattr(metric, name, [x for part in parts for x in part])
        else:  # the sums of a process that had no examples may have another shape
            nothing = torch.zeros((), dtype=torch.float64)
            setattr(metric, name, sum(world.collect(value.double().cpu()), nothing))
    with warnings.catch_warnings(action="ignore"):  # about labels that never occur, and processes without examples
        try:
            return float(cast(Tensor, metric.to("cpu").compute()))
        except ValueError:  # R² of a single example
            return math.nan


class _Absent(ModuleType):
    """Stands for a module that is not used, while another one is imported that mentions it."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return object()


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        unused = any(fullname == name or fullname.startswith(f"{name}.") for name in _UNUSED)
        return ModuleSpec(fullname, self, is_package=True) if unused else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Absent(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module empty."""


@contextmanager
def _without_unused() -> Generator[None]:
    if "torchmetrics" in sys.modules:
        yield
        return
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name, module in sys.modules.items() if isinstance(module, _Absent)]:
            del sys.modules[name]
            owner, _, last = name.rpartition(".")
            if owner in sys.modules:
                vars(sys.modules[owner]).pop(last, None)
