"""The folder of what is kept between processes to save time. It may be deleted at any time."""

from __future__ import annotations

import os
from pathlib import Path


def private_cache() -> Path | None:
    """The folder, made if it is missing. None if it cannot be made, or somebody else can write to it."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache) / "fractal_dsl"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except (OSError, RuntimeError):
        return None
    mine = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    private = mine and not status.st_mode & 0o022 and os.access(folder, os.W_OK)
    return folder if private else None
