"""Curves that grow in a notebook while a net trains in the same cell."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fractal_dsl.base.errors import UserError
from fractal_dsl.runs.bundle import run_bundle

_PAUSE = 1.0


@contextmanager
def live(folder: str | Path, pause: float = _PAUSE) -> Generator[Path]:
    """Show the curves of the run in ``folder``, and draw them again after each epoch while the block runs.

        with live("runs/first") as folder:
            train(compiled, config, folder)

    ``pause`` is the number of seconds between two looks at the folder.
    """
    from IPython.display import display  # pyright: ignore[reportUnknownVariableType]

    place, ended = Path(folder), threading.Event()
    handle: Any = display({"text/plain": "training has not begun"}, raw=True, display_id=True)
    watcher = threading.Thread(target=_follow, args=(place, handle, ended, pause), daemon=True)
    watcher.start()
    try:
        yield place
    finally:
        ended.set()
        watcher.join()
        _update(place, handle)


def _follow(folder: Path, handle: Any, ended: threading.Event, pause: float) -> None:
    """Draw the curves whenever the file of metrics has grown."""
    metrics, size = folder / "metrics.jsonl", 0
    while not ended.wait(pause):
        grown = metrics.stat().st_size if metrics.is_file() else 0
        if grown != size:
            size = grown
            _update(folder, handle)


def _update(folder: Path, handle: Any) -> None:
    with suppress(UserError):  # the run is being written: the next look shows it
        handle.update(run_bundle(folder), raw=True)
