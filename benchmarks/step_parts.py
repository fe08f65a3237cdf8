"""The parts of the benchmark of training steps: which contestants run interleaved.

A contestant is named `MODEL, LAYOUT: WORK`. The works are `none` (no drop-path), `local`, `column K`, and `mixed`,
which is half local and half global drop-path: half the mean of the local steps plus half the mean over the columns, so
that the figures do not depend on the draws.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from random import Random

import torch
from rivals import Naive, Net, plain, ported
from torch import Tensor, nn
from torch.nn import functional as F

from fractal_dsl import FractalModule
from fractal_dsl.plans.plan import Plan, local_plan
from fractal_dsl.plans.plan_on_graph import cost, needed
from fractal_dsl.plans.space import PlanSpace
from fractal_dsl.runtime.channels_last import lay_channels_last
from fractal_dsl.runtime.fuse import fuse
from fractal_dsl.runtime.packed import pack

DROP = 0.15
FIRST, LAST, LOW = "float32", "channels-last", "bf16 channels-last"
Step = Callable[[int], float]
"""Runs the step of a number and returns its seconds."""


class Arena:
    """One net on one device, and steps of the nets that compete on it."""

    def __init__(self, net: Net, device: torch.device) -> None:
        self.net, self.device = net, device
        self.ks = range(1, net.columns + 1)
        self.images = torch.randn(net.batch, 3, 32, 32, device=device)
        self.labels = torch.randint(net.classes, (net.batch,), device=device)
        self.graph = self.reference.join_graph
        self.arities = PlanSpace.of(self.graph).arities

    @cached_property
    def reference(self) -> FractalModule:
        """A net that is not run, for its plans."""
        return self.net.build("meta")

    def local(self, number: int) -> Plan:
        """The local drop-path plan of a step."""
        return local_plan(self.arities, DROP, Random(number))

    def floor(self, plan: Plan) -> float:
        """The multiply-accumulates of the layers that a plan leaves, over those of the whole net."""
        return cost(self.graph, needed(self.graph, plan)).macs / cost(self.graph, self.graph.g.nodes).macs

    def now(self) -> float:
        """CPU seconds, or seconds when the device has finished."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return time.perf_counter()
        return time.process_time()

    def placed(self, model: nn.Module, layout: str) -> tuple[nn.Module, Tensor]:
        """A model in train mode and the images, on the device and in a layout."""
        if layout == FIRST:
            return model.to(self.device).train(), self.images
        images = self.images.contiguous(memory_format=torch.channels_last)
        return model.to(self.device, memory_format=torch.channels_last).train(), images

    def step(self, model: nn.Module, layout: str, forward: Callable[[int], Tensor]) -> Step:
        """A step of a model: forward, loss and backward."""

        def step(number: int) -> float:
            model.zero_grad(set_to_none=True)
            start = self.now()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=layout == LOW):
                loss = F.cross_entropy(forward(number).float(), self.labels)
            loss.backward()
            seconds = self.now() - start
            model.zero_grad(set_to_none=True)
            return seconds

        return step

    # --- contestants

    def ours(
        self, layout: str, works: str = "none local columns", name: str = "ours", pool_after: bool = False
    ) -> dict[str, Step]:
        """Our net."""
        model, x = self.placed(self.net.build(pool_after=pool_after), layout)
        assert isinstance(model, FractalModule)
        if layout == LAST:
            lay_channels_last(model)
        if name.endswith("compiled"):
            model.compile()
        plans: dict[str, Callable[[int], Plan]] = {}
        if "none" in works:
            plans["none"] = lambda _: model.full_plan()
        if "local" in works:
            plans["local"] = self.local
        if "columns" in works:
            plans |= {f"column {k}": lambda _, k=k: model.column_plan(k) for k in self.ks}
        return {
            f"{name}, {layout}: {work}": self.step(model, layout, lambda n, plan=plan: model.run(x, plan(n)))
            for work, plan in plans.items()
        }

    def naive(self, layout: str, works: str, name: str = "naive", pool_after: bool = False) -> dict[str, Step]:
        """The naive net: `none`, `local` and, without computing others, `columns`."""
        model, x = self.placed(Naive(self.net, pool_after), layout)
        assert isinstance(model, Naive)
        assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in self.reference.parameters())
        full = self.reference.full_plan()
        forwards: dict[str, Callable[[int], Tensor]] = {}
        if "none" in works:
            forwards["none"] = lambda _: model(x, full)
        if "local" in works:
            forwards["local"] = lambda n: model(x, self.local(n))
        if "columns" in works:
            forwards |= {f"column {k}": lambda _, k=k: model.alone(x, k) for k in self.ks}
        return {f"{name}, {layout}: {w}": self.step(model, layout, forward) for w, forward in forwards.items()}

    def plain(self, layout: str) -> dict[str, Step]:
        """Columns by hand."""
        steps: dict[str, Step] = {}
        for k in self.ks:
            model, x = self.placed(plain(self.net, k), layout)
            steps[f"plain, {layout}: column {k}"] = self.step(model, layout, lambda _, m=model, x=x: m(x))
        return steps

    def ported(self, layout: str, drop: bool) -> dict[str, Step]:
        """pytorchcv's net, if it is installed."""
        construct = ported(self.net, drop)
        if construct is None:
            return {}
        model, x = self.placed(construct(), layout)
        return {f"pytorchcv, {layout}: {'mixed' if drop else 'none'}": self.step(model, layout, lambda _: model(x))}

    def summed(self, layout: str) -> dict[str, Step]:
        """A local plan and all columns on one mini-batch, with and without sharing work."""
        model, x = self.placed(self.net.build(), layout)
        assert isinstance(model, FractalModule)

        def step(number: int, at_once: bool) -> float:
            model.zero_grad(set_to_none=True)
            plans = [self.local(number), *map(model.column_plan, self.ks)]
            start = self.now()
            if at_once:
                outs = model.run_together(x, plans)
                torch.stack([F.cross_entropy(out, self.labels) for out in outs]).sum().backward()
            else:
                for plan in plans:
                    F.cross_entropy(model.run(x, plan), self.labels).backward()
            return self.now() - start

        return {
            f"ours, {layout}: local and columns, one by one": lambda n: step(n, False),
            f"ours, {layout}: local and columns, at once": lambda n: step(n, True),
        }

    def inference(self, batch: int) -> dict[str, Step]:
        """Columns without gradients: ours folded and packed with channels last, and plain ones."""
        x = torch.randn(batch, 3, 32, 32, device=self.device)
        last = x.contiguous(memory_format=torch.channels_last)
        whole = self.net.build().to(self.device).eval()
        models: dict[str, tuple[nn.Module, Tensor]] = {}
        for k in self.ks:
            models[f"fused, {LAST}, batch {batch}: column {k}"] = pack(fuse(whole.extract(k))), last
            models[f"plain, {FIRST}, batch {batch}: column {k}"] = plain(self.net, k).to(self.device).eval(), x

        def step(model: nn.Module, x: Tensor) -> float:
            with torch.no_grad():
                start = self.now()
                for _ in range(max(1, 4 // batch)):
                    model(x)
                return (self.now() - start) / max(1, 4 // batch)

        return {name: lambda _, m=model, x=x: step(m, x) for name, (model, x) in models.items()}


def contestants(arena: Arena, part: str) -> dict[str, Step]:
    """The contestants of a part, which run interleaved."""
    match part:
        case "whole":
            steps: dict[str, Step] = {}
            for layout in (FIRST, LAST):
                steps |= arena.ours(layout, "none local") | arena.naive(layout, "none")
                steps |= arena.ported(layout, drop=False)
            steps |= arena.ours(LAST, "none", "ours, pooling after joins", pool_after=True)
            return steps | arena.naive(LAST, "none", "naive, pooling after joins", pool_after=True)
        case "columns":
            first, last = (arena.ours(layout, "columns none") | arena.plain(layout) for layout in (FIRST, LAST))
            return first | last
        case "mixed":
            steps = arena.ours(LAST, "local columns") | arena.naive(LAST, "local columns", "sparse naive")
            return steps | arena.ported(LAST, drop=True)
        case "bf16":
            return arena.ours(LOW) | arena.naive(LOW, "none local columns", "sparse naive")
        case "compiled":
            return arena.ours(LAST) | arena.ours(LAST, name="ours compiled")
        case "together":
            return arena.summed(LAST)
        case "inference":
            return arena.inference(1) | arena.inference(32)
    raise AssertionError(part)


PARTS = ("whole", "columns", "mixed", "bf16", "together", "inference", "memory", "compiled")
