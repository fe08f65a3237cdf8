"""The manifest of a training run's folder: what the folder must have, checked without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import command
from fractal_dsl.base.manifest import read_manifest

FORMAT: Final = "fractal_dsl run"
FORMAT_VERSION: Final = 1
_NEEDED = (
    "spec.frac",
    "params.json",
    "config.json",
    "metrics.jsonl",
    "last.safetensors",
    "best.safetensors",
)


def read_run_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a run whose files are all as they were written. Raises UserError if not."""
    if folder.suffix == ".frac" and folder.is_file():
        train = command("fractal-dsl", "train", str(folder))
        raise UserError(f"{folder} is a spec, and not the folder of a training run: `{train}` makes one")
    go_on = command("fractal-dsl", "train", "--resume", str(folder))
    return read_manifest(
        folder,
        "training run",
        format=FORMAT,
        version=FORMAT_VERSION,
        keys=("graph_sha256", "status"),
        parts=_NEEDED,
        remedy=f"restore the file, go on with `{go_on}` if it was killed, or train again",
    )
