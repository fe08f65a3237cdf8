"""The whole state of a run as folders ``checkpoints/step-N``, from which it goes on to the last bit.

``state.safetensors``  parameters, buffers, the optimizer's state, the average of the weights, the epoch's sums
``metrics.jsonl``      the figures of the epochs so far
``manifest.json``      progress, spec, parameters, settings, graph hash, versions, and the hashes of the files

A folder is written beside its place and renamed; the one before it stays. No pickles.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import safetensors.torch as st
from safetensors import SafetensorError
from torch import Tensor

from fractal_dsl.diagnostics import UserError
from fractal_dsl.files import read_manifest, replacing_folder, write_manifest

FORMAT = "fractal_dsl checkpoint"
FORMAT_VERSION = 1
FOLDER = "checkpoints"
_KEPT = 2

Ended = Literal["", "epochs", "patience", "interrupted", "minutes"]


@dataclass
class Progress:
    """How far a run is: its state apart from tensors.

    ``epoch`` epochs are done, and ``batch`` mini-batches of ``images`` images of the next; ``ended`` tells why it
    stopped. Seconds are those of training, of all the processes that worked on the run.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    images: int = 0
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    best: list[float] = field(default_factory=list[float])
    best_epoch: int = 0
    ended: Ended = ""
    scaler: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Checkpoint:
    """What was read back."""

    progress: Progress
    tensors: dict[str, Tensor]
    epochs: list[dict[str, Any]]
    manifest: Mapping[str, Any]


def save_checkpoint(
    run: Path,
    progress: Progress,
    tensors: Mapping[str, Tensor],
    epochs: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
) -> None:
    """Write the state of a run; of those before it the newest stays. Raises UserError where the disk is full."""
    home = run / FOLDER
    state = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with replacing_folder(home / f"step-{progress.step:08}") as temporary:
        _write(temporary / "state.safetensors", st.save(state))
        _write(temporary / "metrics.jsonl", jsonl(epochs).encode())
        manifest = {"format": FORMAT, "format_version": FORMAT_VERSION, "progress": asdict(progress), **facts}
        write_manifest(temporary, manifest)
    for old in _folders(home)[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(run: Path, say: Callable[[str], object]) -> Checkpoint:
    """The newest checkpoint of a run that is whole; ``say`` is told of those that are not.

    Raises UserError if there is none.
    """
    found = _folders(run / FOLDER)
    if not found:
        raise UserError(f"{run} has no checkpoint to resume from: train again")
    for folder in reversed(found):
        try:
            return _read(folder)
        except UserError as error:
            folder.rename(folder.with_name(f"refused-{folder.name}"))
            say(f"{error}; trying the checkpoint before it")
    raise UserError(f"{run} has no checkpoint that is whole: train again")


def clean(run: Path) -> None:
    """Take away what a process that was killed left half-written."""
    for path in [*run.glob(".*"), *(run / FOLDER).glob(".*")]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def jsonl(epochs: Sequence[Mapping[str, Any]]) -> str:
    """Figures as lines of JSON."""
    return "".join(json.dumps(epoch) + "\n" for epoch in epochs)


def _read(folder: Path) -> Checkpoint:
    manifest = read_manifest(
        folder,
        "checkpoint",
        format=FORMAT,
        version=FORMAT_VERSION,
        keys=("progress", "spec", "params", "config", "graph_sha256", "device"),
        parts=("state.safetensors", "metrics.jsonl"),
        remedy="it is not used",
    )
    try:
        progress = Progress(**manifest["progress"])
        epochs = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
        return Checkpoint(progress, st.load_file(folder / "state.safetensors"), epochs, manifest)
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise UserError(f"{folder} cannot be read: {error}") from None


def _folders(home: Path) -> list[Path]:
    """Oldest first."""
    return sorted(home.glob("step-*"))


def _write(path: Path, data: bytes) -> None:
    """Write to the disk itself: a power cut must not take a checkpoint that replaced another."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
