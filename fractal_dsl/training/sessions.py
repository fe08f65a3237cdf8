"""Notes when, where and by which command a run is trained, for its report."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from fractal_dsl.base.parts import read_json, write_part
from fractal_dsl.runs import schema
from fractal_dsl.runs.parts import SESSIONS
from fractal_dsl.training.run_writer import RunWriter


def note_session(run: RunWriter, place: torch.device, command: str | None) -> None:
    """Add a session to ``sessions.json``. The file is not part of what a run promises, so a damaged one is replaced."""
    summary = run.compiled.summary
    session = {
        "began": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "command": command,
        "device": _device(place, run.facts["threads"], run.facts["processes"]),
    }
    record = {"parameters": summary.params, "macs": summary.macs, "sessions": [*_earlier(run.folder), session]}
    write_part(run.folder, SESSIONS, json.dumps(record, indent=2) + "\n")


def _earlier(folder: Path) -> list[Any]:
    try:
        record = read_json(folder, SESSIONS)
    except (OSError, ValueError):
        return []
    return [] if schema.fault(record, schema.Sessions) else record["sessions"]


def _device(place: torch.device, threads: int, processes: str) -> str:
    """For example "cuda: NVIDIA H100" or "cpu: AMD EPYC 7B13, 1 thread"."""
    if place.type == "cuda":
        text = f"{place}: {torch.cuda.get_device_name(place)}"
    elif place.type == "cpu":
        text = f"cpu: {_processor()}, {threads} thread{'s' * (threads != 1)}"
    else:
        text = str(place)
    return text if processes == "1" else f"{text}; {processes.replace(' by ', ' processes by ')}"


def _processor() -> str:
    """The name of the processor, which Python tells only on some systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except (OSError, ValueError):
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
