"""What a training step costs each of N processes: work, messages and memory, from the graph's own numbers.

``python -m fractal_dsl.scaling SPEC`` prints them. Drop-path's part comes from the plans of the first steps, which are
functions of the seed: of these steps the numbers are exact.

A ring sends 2 (N-1)/N of what it reduces, and half of that of what it gathers or scatters (Patarasuk and Yuan 2009).
A backward pass is twice the work of a forward pass. Times are those of a machine that reaches the given rates and does
not overlap work and messages: an upper bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Annotated, Literal

import typer

from fractal_dsl import driver
from fractal_dsl.cli.options import AllowPython, MaxLayers, Net, Params, ParamsFile, Spec, parameters
from fractal_dsl.config import AdamW, TrainConfig, parse_config
from fractal_dsl.driver import MAX_LAYERS, Compiled
from fractal_dsl.graph import Join, JoinGraph, Layer
from fractal_dsl.plan import Plan, draw, full_plan

Parallel = Literal["ddp", "fsdp"]
_FLOAT = 4


@dataclass(frozen=True)
class Cost:
    """One step of one of ``processes``: multiply-accumulates, forward and backward; bytes of gradients and weights that
    are reduced, gathered or scattered (``payload``), of batch norms' sums (``statistics``), and bytes that the process
    sends for both in rings; bytes of weights, gradients and optimizer (``state``), and of activations at most."""

    processes: int
    macs: float
    payload: float
    statistics: float
    sent: float
    state: float
    activations: float


def cost(compiled: Compiled, config: TrainConfig, parallel: Parallel, processes: int, steps: int = 100) -> Cost:
    """The mean cost of the first ``steps`` steps of a run."""
    graph, share = compiled.graph, config.batch / processes
    macs = payload = statistics = 0.0
    for plan in (drawn := list(plans(graph, config.seed, steps))):
        layers = [node for i in live(graph, plan) if isinstance(node := graph[i], Layer)]
        macs += 3 * share * sum(layer.spec.cost(layer.into, layer.out, layer.args)[1] for layer in layers)
        payload += _FLOAT * sum({layer.module: _parameters(layer) for layer in layers}.values())
        norms = [layer for layer in layers if layer.spec.name.startswith("batchnorm")]
        statistics += 2 * 2 * _FLOAT * sum(layer.out.shape[0] for layer in norms) * config.sync_batchnorm
    macs, payload, statistics = (total / len(drawn) for total in (macs, payload, statistics))
    rings = 2 if parallel == "ddp" else 3  # all-reduce; or two gathers, forward and backward, and one scatter
    apart = (processes - 1) / processes
    weights = _FLOAT * compiled.summary.params
    copies = (
        2 + (2 if isinstance(config.optimizer, AdamW) else bool(config.optimizer.momentum)) + (config.ema is not None)
    )
    state = weights * copies / (processes if parallel == "fsdp" else 1)
    values = sum(prod(node.out.shape) for _, node in graph.items() if isinstance(node, Layer | Join))
    sent = apart * (rings * payload + (processes / 2 + 1) * statistics)  # sums are gathered forward, reduced backward
    return Cost(processes, macs, payload, statistics, sent, state, _FLOAT * share * values)


def plans(graph: JoinGraph, seed: int, steps: int) -> Iterator[Plan]:
    """The plans of the first steps; one for a net without drop-path, whose steps are alike."""
    joins = [join for _, join in graph.joins()]
    arities = [len(join.labels) for join in joins]
    if graph.drop_path is None or not joins:
        yield full_plan(arities)
        return
    for step in range(steps):
        yield draw(graph.drop_path, arities, [join.choice for join in joins], len(graph.columns), seed, step)


def live(graph: JoinGraph, plan: Plan) -> set[int]:
    """The nodes that a plan runs."""
    flags = {number: live for (number, _), live in zip(graph.joins(), plan.live, strict=True)}
    found: set[int] = set()
    todo = [graph.output[0]]
    while todo:
        number = todo.pop()
        if number not in found:
            found.add(number)
            operands = graph.operands(number)
            todo += [o for o, on in zip(operands, flags.get(number, (True,) * len(operands)), strict=True) if on]
    return found


def _parameters(layer: Layer) -> int:
    return layer.spec.cost(layer.into, layer.out, layer.args)[0]


def main(
    spec: Spec,
    processes: Annotated[str, typer.Option("-n", help="Numbers of processes.")] = "1,2,8,64",
    parallel: Annotated[str, typer.Option(metavar="ddp|fsdp", help="How they share the work.")] = "ddp",
    batch: Annotated[int | None, typer.Option(min=1, help="Images in a mini-batch, of all processes.")] = None,
    tflops: Annotated[
        float, typer.Option(min=1e-9, help="What one of them computes, in 10^12 operations a second.")
    ] = 50,
    gigabytes: Annotated[float, typer.Option(min=1e-9, help="What one of them sends, in 10^9 bytes a second.")] = 25,
    param: Params = None,
    params: ParamsFile = None,
    net: Net = None,
    max_layers: MaxLayers = MAX_LAYERS,
    allow_python: AllowPython = False,
) -> None:
    """Print what a training step costs each of N processes."""
    compiled = driver.compile_file(spec, parameters(param, params), net, max_layers, allow_python=allow_python)
    config = parse_config({**compiled.program.train, **({"batch": batch} if batch else {})})
    cells = [
        ["processes", "images", "GMACs", "MB sent", "MB state", "MB activations", "ms work", "ms messages", "images/s"]
    ]
    for number in [int(text) for text in processes.split(",")]:
        c = cost(compiled, config, "fsdp" if parallel == "fsdp" else "ddp", number)
        work, messages = 2 * c.macs / tflops / 1e12, c.sent / gigabytes / 1e9
        figures = (config.batch / number, c.macs / 1e9, c.sent / 1e6, c.state / 1e6, c.activations / 1e6)
        times = (1000 * work, 1000 * messages, config.batch / (work + messages))
        cells.append(
            [str(number), *[f"{value:,.4g}" if value < 1000 else f"{value:,.0f}" for value in (*figures, *times)]]
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


if __name__ == "__main__":
    typer.run(main)
