"""``--watch``: run a command again whenever its specs, or what they import, change."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.texts import counted
from fractal_dsl.cli.options import STDIN
from fractal_dsl.cli.say import clear, fail, say
from fractal_dsl.language.diagnostics import FracError, Report
from fractal_dsl.language.imports import load
from fractal_dsl.language.read import read

_PAUSE = 0.1
_Stamp = tuple[int, int] | None


def watching(specs: Sequence[str], action: Callable[[], None]) -> None:
    """Run an action, and again after each change of the specs, of the files in folders, or of imports, until Ctrl-C.

    Errors in a spec are printed, and watching goes on. Wrong usage ends it, and so does standard input as a spec.
    """
    if STDIN in specs:
        raise typer.BadParameter("standard input cannot be watched: give files", param_hint="--watch")
    try:
        while True:
            files = _files(specs)
            stamps = {path: _stamp(path) for path in _with_imports(files)}
            _run(action)
            say(f"\nwatching {counted(len(stamps), 'file')}; press Ctrl-C to stop", error=True)
            while {path: _stamp(path) for path in stamps} == stamps and _files(specs) == files:
                time.sleep(_PAUSE)
            if sys.stderr.isatty() and sys.stdout.isatty():
                clear()
    except KeyboardInterrupt:
        say("\nstopped", error=True)


def _run(action: Callable[[], None]) -> None:
    try:
        action()
    except typer.Exit:  # its message is printed already
        pass
    except (FracError, UserError) as error:
        fail(error)


def _files(specs: Sequence[str]) -> set[Path]:
    """The files that specs name, and those in the folders that they name."""
    inside = (path.rglob("*.frac") if path.is_dir() else [path] for path in map(Path, specs))
    return {path for paths in inside for path in paths}


def _with_imports(files: set[Path]) -> set[Path]:
    """Files and what they import, directly or not."""
    paths = set(files)
    for file in files:
        try:
            source = read(file)
        except FracError:
            continue
        paths |= {file.parent / path for path in load(source, Report(source)).paths}
    return paths


def _stamp(path: Path) -> _Stamp:
    """The state of a file, which changes when the file does. None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
