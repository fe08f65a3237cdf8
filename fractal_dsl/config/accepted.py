"""Settings that the schema accepted before, in a file of the cache: loading the schema takes half of a short command.

Only what is right is stored, so errors are always found anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from fractal_dsl.base.cache import private_cache
from fractal_dsl.base.version import __version__

_LARGEST = 100_000
"""Bytes of the file. A larger one is begun again."""


def accepted(settings: Mapping[str, Any]) -> bool:
    """Whether this version of the schema accepted these settings before."""
    file = _file()
    try:
        return file is not None and _digest(settings) in file.read_text("ascii").split()
    except (OSError, ValueError):
        return False


def note_accepted(settings: Mapping[str, Any]) -> None:
    """Note that the schema accepts these settings."""
    file = _file()
    if file is None:
        return
    try:
        large = file.exists() and file.stat().st_size > _LARGEST
        with file.open("w" if large else "a", encoding="ascii") as lines:
            lines.write(f"{_digest(settings)}\n")
    except OSError:  # the disk is full: the next command checks again
        pass


def _file() -> Path | None:
    folder = private_cache()
    return None if folder is None else folder / f"settings-{__version__}"


def _digest(settings: Mapping[str, Any]) -> str:
    """What tells settings and versions of the schema apart."""
    schema = [(file.name, file.stat().st_mtime_ns) for file in sorted(Path(__file__).parent.glob("*.py"))]
    return sha256(f"{schema} {settings!r}".encode("utf-8", "surrogatepass")).hexdigest()
