"""Profiles a few training steps with torch's profiler."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, cast

import torch
from torch.profiler import ProfilerActivity, profile

from fractal_dsl.base.parts import replacing_part, write_part

_BEFORE, _STEPS = 5, 10


class Profiler:
    """Skips five steps, records ten, then writes ``trace.json`` and ``profile.txt``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.steps = folder, 0
        self.table: str = ""
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
        self.profile: profile | None = profile(activities=activities)
        self.running = False

    def __enter__(self) -> Profiler:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.running:
            self._stop()

    def step(self) -> bool:
        """Count a finished step. True once, when ``table`` is ready."""
        self.steps += 1
        if self.steps == _BEFORE and self.profile is not None:
            self.profile.start()
            self.running = True
        if self.steps == _BEFORE + _STEPS:
            self._stop()
            return True
        return False

    def _stop(self) -> None:
        assert self.profile is not None
        self.profile.stop()
        self.running = False
        averages = cast(Any, self.profile.key_averages())
        self.table = str(averages.table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=40))
        write_part(self.folder, "profile.txt", self.table)
        with replacing_part(self.folder, "trace.json") as temporary:
            self.profile.export_chrome_trace(str(temporary))
        self.profile = None
