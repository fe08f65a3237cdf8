"""Exports nets in a process of its own: ``python -m fractal_dsl.deploy.work JOB``.

A library that exports may crash, and keeps memory. The job is a JSON file (``Exports``). For each export, the process
writes one line of JSON (``Exported``) to its standard output, and waits for a line on its standard input before the
next, so that nothing is exported while a net is timed. What libraries print goes to standard error.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import numpy as np
import torch
from msgspec import Struct

from fractal_dsl.base.errors import UserError
from fractal_dsl.deploy.nets import ANYTIME, answers_of, ends_of, plain_net
from fractal_dsl.deploy.origin import Origin, open_origin


class Export(Struct, frozen=True):
    """A net, a format, a precision, and the file to write."""

    net: str
    target: str
    precision: str
    file: str


class Exports(Struct, frozen=True):
    """What to export of a compiled network, or of the best weights of a run, ``source``.

    ``calibration`` are .npy files of training inputs, one for each input of the net. An anytime net asks ``columns``.
    """

    source: str
    max_layers: int
    allow_python: bool
    batch: int
    threads: int
    calibration: list[str] | None
    exports: list[Export]
    columns: tuple[int, ...] | None = None


class Exported(Struct, frozen=True):
    """The memory layout, the largest batch (None: any) and the seconds, or the reason why there is no file."""

    layout: str = ""
    largest: int | None = None
    seconds: float = 0.0
    error: str | None = None


def main(path: Path) -> None:
    """Do the job in ``path``."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job = msgspec.json.decode(path.read_bytes(), type=Exports)
    torch.set_num_threads(job.threads)
    origin = open_origin(Path(job.source), "best", job.max_layers, job.allow_python)
    for export in job.exports:
        start = perf_counter()
        try:
            layout, largest = write(origin, export, job)
            done = Exported(layout, largest, perf_counter() - start)
        except OSError as error:
            done = Exported(error=f"cannot write {Path(export.file).name}: {error.strerror or error}")
        except UserError as error:
            done = Exported(error=str(error))
        except Exception as error:  # exporters raise almost anything
            done = Exported(error=f"{type(error).__name__}: {_first_line(error)}")
        answer.write(msgspec.json.encode(done).decode() + "\n")
        answer.flush()
        if not sys.stdin.readline():
            return


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")[:300]


def write(origin: Origin, export: Export, job: Exports) -> tuple[str, int | None]:
    """Export one net. Return its memory layout and its largest batch, None for any."""
    path, inputs = Path(export.file), [*origin.model.inputs.values()]
    match export.target:
        case "onnx" | "openvino":
            return _by_onnx(origin, export, job, path), None
        case "pt2" | "aoti":
            from fractal_dsl.deploy.export.torch_formats import write_aoti, write_pt2

            named, layout = _nets(origin, export, job, "model")
            (write_pt2 if export.target == "pt2" else write_aoti)(named, inputs, path)
            return layout, None
        case _:
            from fractal_dsl.deploy.export.executorch import LARGEST, write_executorch

            named, _ = _nets(origin, export, job, "forward", measure=False)
            write_executorch(named, inputs, path)
            return "chosen by XNNPACK", LARGEST


def _nets(
    origin: Origin, export: Export, job: Exports, alone: str, *, measure: bool = True
) -> tuple[dict[str, Any], str]:
    """The net under the name ``alone``, or those of an anytime file by their names, in the faster memory layout."""
    from fractal_dsl.deploy.export.program import channels_last, fastest_layout

    names = answers_of(origin.model.join_graph, job.columns) if export.net == ANYTIME else [export.net]
    nets: dict[str, Any] = {name: plain_net(origin.model, name) for name in names}
    layout = "contiguous"
    if measure:
        nets[names[-1]], layout = fastest_layout(nets[names[-1]], [*origin.model.inputs.values()], job.batch)
        if layout == "channels_last":
            nets = {name: channels_last(net) for name, net in nets.items()}
    return ({alone: nets[names[0]]} if len(names) == 1 else nets), layout


def _by_onnx(origin: Origin, export: Export, job: Exports, path: Path) -> str:
    from fractal_dsl.deploy.export.anytime import anytime_onnx
    from fractal_dsl.deploy.export.onnx import CHOSEN, fastest_onnx, plain_onnx, save_onnx
    from fractal_dsl.deploy.export.openvino import write_openvino

    model, layout, ends = origin.model, CHOSEN, ends_of(origin.model)
    if export.net == ANYTIME:
        proto = anytime_onnx(model, job.columns)
    elif (export.target, export.precision) == ("onnx", "float32"):
        proto, layout = fastest_onnx(plain_net(model, export.net), ends, job.batch, job.threads)
    else:
        proto = plain_onnx(plain_net(model, export.net), ends)
    if export.precision == "int8":
        from fractal_dsl.deploy.export.int8 import quantized

        assert job.calibration is not None
        proto = quantized(proto, tuple([np.load(file) for file in job.calibration]))
    if export.target == "onnx":
        save_onnx(proto, path)
        return layout
    write_openvino(proto, path)
    return "chosen by OpenVINO"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
