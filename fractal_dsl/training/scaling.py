"""The cost of a training step for each of N processes: work, messages and memory, computed from the graph.

Drop-path enters through the plans of the first steps, which are functions of the seed, so the numbers are exact for
these steps. A ring sends 2 (N-1)/N times what it reduces, and half of that for what it gathers or scatters (Patarasuk
and Yuan 2009). A backward pass is twice the work of a forward pass, and distillation adds a forward pass of the whole
net. A pipeline of N stages idles for N-1 of its M+N-1 turns, with M the parts of a mini-batch (Huang et al. 2019).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from msgspec import Struct

from fractal_dsl.base.errors import UserError
from fractal_dsl.compiled import Compiled
from fractal_dsl.config import AdamW, TrainConfig
from fractal_dsl.graph.graph import Join, JoinGraph, Layer
from fractal_dsl.plans.plan import Plan
from fractal_dsl.plans.plan_on_graph import cost as cost_of
from fractal_dsl.plans.plan_on_graph import needed
from fractal_dsl.plans.space import PlanSpace
from fractal_dsl.plans.stretches import stretches
from fractal_dsl.training.distillation import teaches
from fractal_dsl.training.parallel import ParallelKind

_FLOAT = 4


class StepCost(Struct, frozen=True):
    """One step of the busiest of ``processes``.

    ``macs`` counts the multiply-accumulates of both passes, and ``idle`` is the share of the step spent waiting. The
    others are bytes: ``payload`` is gradients and weights that are reduced, gathered or scattered, or values and
    gradients between stages; ``statistics`` is the sums of batch norms; ``sent`` is what the process sends for both;
    ``state`` is weights, gradients and optimizer; ``activations`` is their peak.
    """

    processes: int
    macs: float
    idle: float
    payload: float
    statistics: float
    sent: float
    state: float
    activations: float


def cost_of_step(
    compiled: Compiled, config: TrainConfig, parallel: ParallelKind, processes: int, steps: int = 100
) -> StepCost:
    """The mean cost of the first ``steps`` steps of a run.

    Raises UserError if that many processes cannot share the mini-batch, or the net has too few stages.
    """
    return (_pipeline if parallel == "pipeline" else _shared)(compiled, config, parallel, processes, steps)


def _shared(compiled: Compiled, config: TrainConfig, parallel: ParallelKind, processes: int, steps: int) -> StepCost:
    """Each process has a share of each mini-batch."""
    if config.batch % (pieces := processes * config.accumulate):
        parts = f" in {config.accumulate} parts" if config.accumulate > 1 else ""
        raise UserError(
            f"{processes} processes cannot share mini-batches of {config.batch}{parts}: "
            f"make `batch` a multiple of {pieces}"
        )
    graph, parts, share = compiled.graph, config.accumulate, config.batch // processes
    macs = payload = statistics = gathered = 0.0
    for plans in (drawn := plans_of_steps(graph, config.seed, steps)):
        if teaches(config, plans):
            macs += share * compiled.summary.macs
            gathered += _FLOAT * parts * compiled.summary.params * (parallel == "fsdp")
        passes = [needed(graph, plan) for plan in plans]
        macs += 3 * share * sum(cost_of(graph, nodes).macs for nodes in passes)
        if parallel == "ddp":  # gradients are summed up before they are sent
            payload += _FLOAT * cost_of(graph, set[int]().union(*passes)).params
        else:
            payload += _FLOAT * parts * sum(cost_of(graph, nodes).params for nodes in passes)
        if config.sync_batchnorm:
            layers = [node for nodes in passes for i in nodes if isinstance(node := graph[i], Layer)]
            channels = sum(layer.out.shape[0] for layer in layers if layer.spec.name.startswith("batchnorm"))
            statistics += 2 * 2 * _FLOAT * parts * channels
    macs, payload, statistics, gathered = (total / len(drawn) for total in (macs, payload, statistics, gathered))
    rings = 2 if parallel == "ddp" else 3  # all-reduce; or two gathers, forward and backward, and one scatter
    sums = (processes / 2 + 1) * statistics  # gathered, then reduced
    sent = (processes - 1) / processes * (rings * payload + gathered + sums)
    state = _FLOAT * compiled.summary.params * _copies(config) / (processes if parallel == "fsdp" else 1)
    activations = _FLOAT * share // parts * _values(graph, graph.g.nodes)
    return StepCost(processes, macs, 0.0, payload, statistics, sent, state, activations)


def _pipeline(compiled: Compiled, config: TrainConfig, _: ParallelKind, processes: int, steps: int) -> StepCost:
    """Each process has a stretch of the net, through which the parts of the mini-batch pass one after another."""
    if config.batch % config.accumulate:
        raise UserError(f"a mini-batch of {config.batch} cannot be split into {config.accumulate} equal parts")
    graph, parts = compiled.graph, config.accumulate
    stages = stretches(graph, processes)
    drawn = plans_of_steps(graph, config.seed, steps)
    passes = sum(map(len, drawn)) / len(drawn)
    taught = sum(teaches(config, plans) for plans in drawn)
    work = [(needed(graph, plan), 3) for plans in drawn for plan in plans] + [(set(graph.g.nodes), taught)]
    macs = [
        config.batch * sum(times * cost_of(graph, stage.nodes & nodes).macs for nodes, times in work) / len(drawn)
        for stage in stages
    ]
    sent: list[float] = []
    states: list[float] = []
    activations: list[float] = []
    for i, stage in enumerate(stages):
        ends = [stage.entry] * (i > 0) + [stage.exit] * (i < processes - 1)
        sent.append(_FLOAT * config.batch * passes * sum(prod(graph[number].out.shape) for number in ends))
        if i < processes - 1:
            sent[-1] += _FLOAT * config.batch * taught / len(drawn) * prod(graph[stage.exit].out.shape)
        states.append(_FLOAT * _copies(config) * cost_of(graph, stage.nodes).params)
        in_flight = min(parts, processes - i) if parts >= processes else parts  # 1F1B; GPipe where parts are few
        activations.append(_FLOAT * config.batch / parts * in_flight * _values(graph, stage.nodes))
    idle = (processes - 1) / (parts + processes - 1)
    return StepCost(processes, max(macs), idle, max(sent), 0.0, max(sent), max(states), max(activations))


def plans_of_steps(graph: JoinGraph, seed: int, steps: int) -> list[list[Plan]]:
    """The plans of each of the first steps; of one step for a net that draws no plans, whose steps are all alike."""
    space = PlanSpace.of(graph)
    return [space.step(seed, step) for step in range(steps if space.draws else 1)]


def _values(graph: JoinGraph, nodes: Iterable[int]) -> int:
    """The number of output values of some layers and joins for one example."""
    return sum(prod(graph[i].out.shape) for i in nodes if isinstance(graph[i], Layer | Join))


def _copies(config: TrainConfig) -> int:
    """The number of copies of the weights: weights, gradients, optimizer state and average."""
    kept = 2 if isinstance(config.optimizer, AdamW) else bool(config.optimizer.momentum)
    return 2 + kept + (config.ema is not None)
