"""The nets that a service asks, loaded: those of a shelf in their runtimes, or those of a run in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.base.manifest import MANIFEST
from fractal_dsl.base.parts import read_json
from fractal_dsl.compiled import MAX_LAYERS
from fractal_dsl.data import vocabularies_of
from fractal_dsl.deploy.nets import Ends, answers_of, classifies, ends_of
from fractal_dsl.deploy.origin import open_origin
from fractal_dsl.deploy.runtimes import Arrays, load_exported
from fractal_dsl.deploy.samples import plan_of
from fractal_dsl.deploy.shelf import SHELF_FORMAT, Shelf, ShelfRow
from fractal_dsl.deploy.targets import TARGETS
from fractal_dsl.evaluation.evaluate import to_stderr
from fractal_dsl.runs.data_record import DataRecord
from fractal_dsl.runtime.arguments import one_or_several, tensors_in


@dataclass(frozen=True)
class ServedNet:
    """A net: ``run`` maps inputs [batch, …] to outputs. ``ms`` is the latency of one example, ``largest`` a batch."""

    name: str
    run: Callable[[Arrays], Arrays]
    ms: float
    largest: int


@dataclass(frozen=True)
class Service:
    """What is served. ``stages`` are ordered from the shallowest column to the whole net; the last one is the default.

    ``confident`` says that the first output is the logits of classes. ``classes`` are the names of classes by output,
    without those of other tasks, and ``vocabularies`` the numbers of tokens by input. ``data`` describes inputs, if it
    is known.
    """

    name: str
    stages: tuple[ServedNet, ...]
    ends: Ends
    confident: bool
    classes: Mapping[str, list[str]]
    vocabularies: Mapping[str, int | None]
    data: DataRecord | None
    platform: str

    def within(self, budget: float) -> ServedNet:
        """The deepest net whose latency is within a budget of milliseconds, or else the fastest one."""
        fitting = [stage for stage in self.stages if stage.ms <= budget]
        return fitting[-1] if fitting else min(self.stages, key=lambda stage: stage.ms)


def open_service(
    source: Path,
    threads: int,
    max_layers: int = MAX_LAYERS,
    *,
    allow_python: bool = False,
    say: Callable[[str], object] = to_stderr,
) -> Service:
    """Load the nets of a shelf, a run or a compiled network. Raises UserError if there is none to serve.

    ``say`` gets notes about files of a shelf that are not served.
    """
    torch.set_num_threads(threads)
    if _is_shelf(source):
        return _of_shelf(Shelf.read(source), threads, say)
    origin = open_origin(source, "best", max_layers, allow_python)
    model = origin.model
    names = answers_of(model.join_graph)

    def stage(name: str) -> ServedNet:
        plan = plan_of(model, name)

        def run(x: Arrays) -> Arrays:
            given = one_or_several([torch.from_numpy(one) for one in x])
            with torch.inference_mode():
                return tuple([one.numpy() for one in tensors_in(model.run(given, plan))])

        return ServedNet(name, run, _milliseconds(run, [*model.inputs.values()]), 256)

    ends, facts, confident = ends_of(model), origin.facts, classifies(origin)
    return Service(
        origin.compiled.program.net,
        tuple(map(stage, names)),
        ends,
        confident,
        _classes(ends, confident, facts.get("classes"), facts.get("by_output")),
        dict(zip(ends.inputs, vocabularies_of(model.join_graph).values(), strict=True)),
        origin.trained,
        "fractal_dsl",
    )


def _classes(
    ends: Ends, confident: bool, first: list[str] | None, by_output: Mapping[str, Any] | None
) -> dict[str, list[str]]:
    """The names of classes by output, of outputs that are the logits of classes."""
    if not by_output:
        return {next(iter(ends.outputs)): first} if first and confident else {}
    records = {name: one for name, one in by_output.items() if one["task"] == "classification"}
    return {n: one["classes"] for n, one in records.items() if one["classes"] and len(ends.outputs[n].shape) == 1}


def _is_shelf(source: Path) -> bool:
    try:
        return read_json(source, MANIFEST).get("format") == SHELF_FORMAT
    except (OSError, ValueError, AttributeError):
        return False


def _of_shelf(shelf: Shelf, threads: int, say: Callable[[str], object]) -> Service:
    """The fastest verified file of each net whose runtime is installed."""
    m = shelf.manifest
    chosen: list[ShelfRow] = []
    intact = [row for row in shelf.rows if shelf.intact(row)]
    for row in shelf.rows:
        if row.verified and row not in intact:
            say(f"note: {row.file} is missing or was altered, and is not served: deploy again to replace it")
    for name in m.answers:
        rows = [r for r in intact if r.net == name and TARGETS[r.target].missing() is None]
        floats = [r for r in rows if r.precision == "float32"] or rows
        if floats:
            chosen.append(min(floats, key=lambda r: r.ms / r.batch))
    if not chosen:
        raise UserError(f"{shelf.folder} has no verified net whose runtime is installed: deploy again")
    if chosen[-1].net != m.answers[-1]:
        say(f"note: no file of the {m.answers[-1]} net can be served: {chosen[-1].net} answers in its place")
    ends = Ends(*({name: _tensor(one) for name, one in some.items()} for some in (m.takes, m.gives)))
    confident = m.task == "classification" and len(next(iter(ends.outputs.values())).shape) == 1
    data = DataRecord.read(shelf.folder)
    stages = tuple([_loaded(shelf, row, threads) for row in chosen])
    platform = ", ".join(dict.fromkeys(row.target for row in chosen))
    classes = _classes(ends, confident, m.classes, m.by_output)
    return Service(m.net, stages, ends, confident, classes, m.vocabularies, data, platform)


def _loaded(shelf: Shelf, row: ShelfRow, threads: int) -> ServedNet:
    program = load_exported(row.target, str(shelf.folder / row.file), [], threads)
    return ServedNet(row.net, lambda x: program(x, 1.0)[0], row.ms / row.batch, row.largest or 256)


def _tensor(text: str) -> ops.Tensor:
    dtype, _, shape = text.removesuffix("]").partition("[")
    return ops.Tensor(dtype, tuple(int(size) for size in shape.split(",") if size.strip()))


def _milliseconds(run: Callable[[Arrays], Arrays], inputs: Sequence[ops.Tensor]) -> float:
    kinds = {"i64": np.int64, "f32": np.float32}
    x = tuple([np.zeros((1, *into.shape), kinds[into.dtype]) for into in inputs])
    times: list[float] = []
    for _ in range(6):
        start = perf_counter()
        run(x)
        times.append(1000 * (perf_counter() - start))
    return median(times[1:])
