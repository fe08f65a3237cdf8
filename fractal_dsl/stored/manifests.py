"""The manifests of compiled networks and of training runs: what the folders must have."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fractal_dsl.base.escaping import command
from fractal_dsl.base.manifest import read_manifest
from fractal_dsl.stored.kinds import NETWORK_FORMAT, RUN_FORMAT, expect

NETWORK_VERSION: Final = 1
RUN_VERSION: Final = 1


def read_network_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a compiled network whose files are all as they were written. Raises UserError if not."""
    expect(folder, "compiled network")
    return read_manifest(
        folder,
        "compiled network",
        format=NETWORK_FORMAT,
        version=NETWORK_VERSION,
        keys=("net", "params", "column", "seed", "graph_sha256"),
        parts=("spec.frac", "model.py", "weights.safetensors"),
        remedy="compile the spec again",
    )


def read_run_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a run whose files are all as they were written. Raises UserError if not."""
    expect(folder, "training run")
    go_on = command("fractal-dsl", "train", "--resume", str(folder))
    return read_manifest(
        folder,
        "training run",
        format=RUN_FORMAT,
        version=RUN_VERSION,
        keys=("graph_sha256", "status"),
        parts=("spec.frac", "params.json", "config.json", "metrics.jsonl", "last.safetensors", "best.safetensors"),
        remedy=f"restore the file, go on with `{go_on}` if it was killed, or train again",
    )
