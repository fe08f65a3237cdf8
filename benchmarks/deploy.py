"""The latency of exported nets in their own runtimes beside eager torch, column by column.

    python benchmarks/deploy.py [--net digits|fractalnet20] [--runtimes onnx,pt2] [--nets column3,whole] [--batch 1,32]
                                [--threads 1] [--export] [--seconds 220] [--again] [--folder DIR] [--json]

The digits net is trained for 12 epochs with ``columns=all``; FractalNet-20 is untrained. Nets and files are made once
and kept in --folder. --export makes them and measures nothing, so that measurements can be short: all files of a net
take minutes, and those of aoti up to a minute each. Runtimes that are not installed are skipped by name.

Figures are kept in --folder, too. After --seconds no other net is begun, and the same command measures the rest.
--again forgets them.

Eager is the trained module of the column, with its batch norms, in inference mode. Eager and the runtimes take turns
twice, and of each the run with the smaller median counts. Each file runs in a process of its own, as in `deploy`.
Milliseconds for a batch: the median, the 95th percentile, and the mean over inputs of each input's median. The anytime
net stops at a confidence of 0.9.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.console import Console

from fractal_dsl.compiled import MAX_LAYERS
from fractal_dsl.config import parse_config
from fractal_dsl.deploy.children import Exporter, measured_in_runtime
from fractal_dsl.deploy.measure import Job, RuntimeFigures, latency
from fractal_dsl.deploy.nets import ANYTIME, WHOLE_NET, answers_of, net_names, plain_net
from fractal_dsl.deploy.origin import Origin, open_origin
from fractal_dsl.deploy.runtimes import Arrays
from fractal_dsl.deploy.samples import samples_of
from fractal_dsl.deploy.targets import TARGETS
from fractal_dsl.deploy.work import Export, Exports
from fractal_dsl.pipeline import compile_file, compile_text
from fractal_dsl.runtime import build
from fractal_dsl.runtime.artifact import save_artifact
from fractal_dsl.training.train import train

EXAMPLES = Path(__file__).parent.parent / "examples"
CONFIDENCE = 0.9
ROUNDS = 2
COLUMN_GOAL = 0.45
"""Of eager, for column 3 of FractalNet-20 by ONNX Runtime at batch 1."""
Row = dict[str, Any]


def main() -> None:
    """Export what is missing, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=("digits", "fractalnet20"), default="digits")
    parser.add_argument("--runtimes", default=",".join(TARGETS))
    parser.add_argument("--nets", help="by default all columns, the whole net and the anytime net")
    parser.add_argument("--batch", default="1,32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "fractal_dsl-benchmark")
    parser.add_argument("--export", action="store_true", help="only export what is missing")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--again", action="store_true", help="forget the figures of earlier runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    began = perf_counter()
    torch.set_num_threads(options.threads)
    origin = origin_of(options.net, options.folder)
    names = options.nets.split(",") if options.nets else net_names(origin.model.join_graph, None, confident=True)
    runtimes = installed(options.runtimes.split(","))
    files = exported(origin, names, runtimes, options.folder / f"{options.net}-files")
    if options.export:
        return
    inputs = samples_of(origin, lambda line: None, int8=False, allow_python=False).tests
    store = options.folder / f"{options.net}-{options.threads}.json"
    kept: dict[str, list[Row]] = {} if options.again or not store.exists() else json.loads(store.read_text())
    rows: list[Row] = []
    for batch in map(int, options.batch.split(",")):
        for name in names:
            given = {runtime: files[name, runtime] for runtime in runtimes if (name, runtime) in files}
            key = f"{name} {batch} {','.join(given)}"
            if key not in kept and perf_counter() - began > options.seconds:
                print("stopped: run the same command again for the rest")
                return
            if key not in kept:
                kept[key] = measured(origin, name, given, inputs, batch, options.threads)
                store.write_text(json.dumps(kept))
            rows += [{"net": options.net, **row} for row in kept[key]]
            if not options.json:
                print("\n".join(map(text, kept[key])), flush=True)
    goals = met(rows)
    print(json.dumps({"rows": rows, "goals": goals}, indent=2) if options.json else "\n".join(map(goal_text, goals)))


def origin_of(net: str, folder: Path) -> Origin:
    """The run or the compiled network, which is made if it is not there."""
    place = folder / net
    if not (place / "manifest.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        if net == "digits":
            text = (EXAMPLES / "digits.frac").read_text("utf-8").replace("local=15%, global=50%", "columns=all")
            compiled = compile_text(text)
            settings = parse_config({**compiled.program.train, "epochs": 12})
            train(compiled, settings, place, device="cpu", console=Console(stderr=True))
        else:
            compiled = compile_file(EXAMPLES / "fractalnet20_cifar.frac")
            save_artifact(compiled, build(compiled), place)
    return open_origin(place, "best", MAX_LAYERS, False)


def installed(names: list[str]) -> list[str]:
    """The runtimes that are installed. The others are named."""
    missing = {name: TARGETS[name].missing() for name in names}
    for reason in filter(None, missing.values()):
        print(f"skipped: {reason}")
    return [name for name in names if missing[name] is None]


def exported(origin: Origin, names: list[str], runtimes: list[str], folder: Path) -> dict[tuple[str, str], Path]:
    """The file of each net and runtime. An export that fails is named."""
    files = {(name, runtime): folder / f"{name}{TARGETS[runtime].suffix}" for runtime in runtimes for name in names}
    missing = [key for key, file in files.items() if not file.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        exports = [Export(n, r, "float32", str(Path(place) / files[n, r].name)) for n, r in missing]
        job = Exports(
            source=str(origin.folder),
            max_layers=MAX_LAYERS,
            allow_python=False,
            batch=1,
            threads=1,
            calibration=None,
            exports=exports,
        )
        for export, done in Exporter(job, Path(place)):
            key = export.net, export.target
            if done.error is not None:
                print(f"{export.net} by {export.target} failed: {done.error}")
                del files[key]
                continue
            for file in Path(place).glob(f"{export.net}.*"):
                file.replace(folder / file.name)
    return files


def measured(origin: Origin, name: str, files: dict[str, Path], inputs: Arrays, batch: int, threads: int) -> list[Row]:
    """A row for eager torch, and one for each runtime."""
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        count = max(2 * batch, 50)
        tests = tuple([np.resize(one, (count, *one.shape[1:])) for one in inputs])
        names = [str(work / f"{number}.npy") for number, _ in enumerate(tests)]
        for file, array in zip(names, tests, strict=True):
            np.save(file, array)
        answers = answers_of(origin.model.join_graph) if name == ANYTIME else []

        def job(runtime: str, path: Path) -> Job:
            return Job(runtime, str(path), answers, threads, batch, CONFIDENCE, names, names, largest=64, warmup=3)

        best: dict[str, RuntimeFigures] = {}
        for _ in range(ROUNDS):
            turn = {} if answers else {"eager": eager_figures(origin, name, tests, job("eager", work))}
            for runtime, path in files.items():
                figures = measured_in_runtime(job(runtime, path), work)
                if isinstance(figures, str):
                    print(f"{name} by {runtime}: {figures}")
                else:
                    turn[runtime] = figures
            best |= {key: f for key, f in turn.items() if key not in best or f.ms < best[key].ms}
    sizes = {runtime: sum(part.stat().st_size for part in parts(path)) for runtime, path in files.items()}
    return [
        row(name, batch, runtime, figures, best.get("eager")) | {"bytes": sizes.get(runtime)}
        for runtime, figures in best.items()
    ]


def parts(path: Path) -> list[Path]:
    """The files of an exported net: a format may keep weights beside it."""
    return [path, *([path.with_suffix(".bin")] if path.suffix == ".xml" else [])]


def eager_figures(origin: Origin, name: str, inputs: Arrays, job: Job) -> RuntimeFigures:
    """The latency of the trained module."""
    net = plain_net(origin.model, name, fold=False)

    def run(x: Arrays, confidence: float) -> tuple[Arrays, int]:
        with torch.inference_mode():
            return (net(torch.from_numpy(x[0])).numpy(),), 0

    return latency(run, inputs, job)


def row(name: str, batch: int, runtime: str, figures: RuntimeFigures, eager: RuntimeFigures | None) -> Row:
    """The figures of a net in a runtime."""
    times = {"ms": figures.ms, "ms_p95": figures.ms_p95, "ms_mean": figures.ms_mean}
    ratio = None if eager is None else figures.ms / eager.ms
    return {"name": name, "batch": batch, "runtime": runtime, **times, "of_eager": ratio}


def met(rows: list[Row]) -> list[Row]:
    """The goals that these rows decide."""
    by_key = {(r["net"], r["name"], r["runtime"], r["batch"]): r for r in rows}
    goals: list[Row] = []
    column = by_key.get(("fractalnet20", "column3", "onnx", 1))
    if column is not None and column["of_eager"] is not None:
        what = "column 3 of FractalNet-20 by ONNX Runtime, batch 1, of eager"
        goals.append({"goal": what, "found": column["of_eager"], "limit": COLUMN_GOAL})
    anytime, whole = (by_key.get(("digits", name, "onnx", 1)) for name in (ANYTIME, WHOLE_NET))
    if anytime is not None and whole is not None:
        what = f"anytime of digits in one file at confidence {CONFIDENCE}, batch 1, mean of the whole net's"
        goals.append({"goal": what, "found": anytime["ms_mean"] / whole["ms_mean"], "limit": 1.0})
    return [{**goal, "met": goal["found"] <= goal["limit"]} for goal in goals]


def text(row: Row) -> str:
    """A row as a line."""
    ratio = "" if row["of_eager"] is None else f"  {row['of_eager']:5.2f} of eager"
    return (
        f"{row['name']:<8} batch {row['batch']:>2}  {row['runtime']:<10}  {row['ms']:8.3f} ms  p95 {row['ms_p95']:8.3f}"
        f"  mean {row['ms_mean']:8.3f}{ratio}"
    )


def goal_text(goal: Row) -> str:
    """A goal as a line."""
    return f"{goal['goal']}: {goal['found']:.2f}, goal {goal['limit']:g}: {'met' if goal['met'] else 'MISSED'}"


if __name__ == "__main__":
    main()
