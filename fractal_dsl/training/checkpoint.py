"""The whole state of a run as folders ``checkpoints/step-N``, from which it goes on to the last bit.

``state.safetensors``  parameters, buffers, the optimizer's state, the average of the weights, the epoch's sums; where
                       several processes share them, one file from each, by ``torch.distributed.checkpoint``
``metrics.jsonl``      the figures of the epochs so far
``manifest.json``      progress, spec, parameters, settings, graph hash, versions, and the hashes of the files

A folder is written beside its place and renamed; the one before it stays. No pickles. What one number of processes has
written, another can read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import safetensors.torch as st
from safetensors import SafetensorError
from torch import Tensor

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.files import remove, remove_temporaries, replacing_folder
from fractal_dsl.base.manifest import MANIFEST, Count, DamagedError, Manifest, all_files, read_manifest, write_manifest
from fractal_dsl.base.parts import open_part, part_folder
from fractal_dsl.runs.parts import CHECKPOINTS
from fractal_dsl.runtime.world import ALONE, World

FORMAT = "fractal_dsl checkpoint"
FORMAT_VERSION = 1
_KEPT = 2

Ended = Literal["", "epochs", "patience", "interrupted", "minutes"]


@dataclass
class Progress:
    """How far a run is: its state apart from tensors.

    ``epoch`` epochs are done, and ``batch`` mini-batches of ``images`` images of the next; ``ended`` tells why it
    stopped. ``patience`` counts from the best epoch, or from ``patient_from`` if that is later.
    Seconds are those of training, of all the processes that worked on the run.
    """

    step: Count = 0
    epoch: Count = 0
    batch: Count = 0
    images: Count = 0
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    best: list[float] = field(default_factory=list[float])
    best_epoch: Count = 0
    patient_from: Count = 0
    ended: Ended = ""
    scaler: dict[str, Any] = field(default_factory=dict[str, Any])


class CheckpointManifest(Manifest, frozen=True, kw_only=True):
    """What the manifest of a checkpoint has: the progress, and what the run was that made it."""

    progress: Progress
    spec: dict[str, str]
    params: dict[str, str]
    config: dict[str, Any]
    graph_sha256: str
    device: str
    threads: int
    processes: str = "1"
    initial: str | None = None


Like = Callable[[str], Tensor | None]
"""By the name of a tensor in a checkpoint: one that is placed as it is to be; None to leave it out."""


@dataclass(frozen=True)
class Checkpoint:
    """What was read back; the tensors are still in the folder."""

    folder: Path
    progress: Progress
    epochs: list[dict[str, Any]]
    manifest: CheckpointManifest

    def tensors(self, like: Like | None = None) -> dict[str, Tensor]:
        """The tensors by name: whole, or placed as ``like`` says, which all processes must then ask for together.

        Raises UserError if they cannot be read.
        """
        try:
            whole = self.folder / "state.safetensors"
            if like is None and whole.exists():
                return st.load_file(whole)
            from fractal_dsl.training.parallel.shards import read_shards  # takes a second to import

            return read_shards(self.folder, like)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{self.folder} cannot be read: {error}") from None


def save_checkpoint(
    run: Path,
    progress: Progress,
    tensors: Mapping[str, Tensor],
    epochs: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
    *,
    world: World = ALONE,
    sharded: bool = False,
) -> None:
    """Write the state of a run; of those before it the newest stays. Raises UserError where the disk is full.

    All processes of the run call it; the first one writes, and where each has a part of the tensors, all do.
    """
    with ExitStack() as stack:
        name = f"step-{progress.step:08}"
        temporary = world.lead(lambda: stack.enter_context(replacing_folder(part_folder(run, CHECKPOINTS) / name)))
        if sharded:
            from fractal_dsl.training.parallel.shards import write_shards

            write_shards(temporary, tensors)

        def finish() -> None:
            if not sharded:
                state = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
                _write(temporary / "state.safetensors", st.save(state))
            _write(temporary / "metrics.jsonl", jsonl(epochs).encode())
            manifest = {"format": FORMAT, "format_version": FORMAT_VERSION, "progress": asdict(progress), **facts}
            write_manifest(temporary, manifest)
            stack.pop_all().close()
            for old in checkpoints(run)[:-_KEPT]:
                remove(old)

        world.lead(finish)


def load_checkpoint(run: Path, say: Callable[[str], object]) -> Checkpoint:
    """The newest checkpoint of a run that is whole; ``say`` is told of those that are not, which are renamed.

    Raises UserError if there is none, or one cannot be read for a reason that the user can put right.
    """
    found = checkpoints(run)
    if not found:
        raise UserError(f"{run} has no checkpoint to resume from: train again")
    for folder in reversed(found):
        try:
            return _read(folder)
        except DamagedError as error:
            refused = folder.with_name(f"refused-{folder.name}")
            remove(refused)
            folder.rename(refused)
            say(f"{error}; trying the checkpoint before it")
        except UserError as error:
            raise UserError(
                f"{error}\nThe checkpoint is left as it is. Make it readable, or resume with the version of "
                f"fractal_dsl that wrote it; to go on from the checkpoint before it, move {folder} away first"
            ) from None
    raise UserError(f"{run} has no checkpoint that is whole: train again")


def clean(run: Path) -> None:
    """Take away what a process that was killed left half-written, in a run that this process holds the lock of."""
    for folder in (run, run / CHECKPOINTS):
        remove_temporaries(folder)


def jsonl(epochs: Sequence[Mapping[str, Any]]) -> str:
    """Figures as lines of JSON."""
    return "".join(json.dumps(epoch) + "\n" for epoch in epochs)


def _read(folder: Path) -> Checkpoint:
    try:
        if not (folder / MANIFEST).is_file():
            raise DamagedError(f"{folder} is incomplete ({MANIFEST} is missing): it is not used")
        manifest = read_manifest(
            folder,
            "checkpoint",
            CheckpointManifest,
            format=FORMAT,
            version=FORMAT_VERSION,
            parts=("metrics.jsonl",),
            remedy="it is not used",
        )
        if unknown := [f for f in all_files(folder) if f.endswith(".safetensors") and f not in manifest.files]:
            raise DamagedError(f"{folder / unknown[0]} is no part of the checkpoint; it is not used")
        with open_part(folder, "metrics.jsonl") as file:
            epochs = [json.loads(line) for line in file]
        return Checkpoint(folder, manifest.progress, epochs, manifest)
    except (OSError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{folder} cannot be read: {error}") from None


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, oldest first; a link is none. Raises UserError if the folder of them all is a link."""
    home = run / CHECKPOINTS
    if home.is_symlink():
        raise UserError(f"{home} is a link, and links in a run are not followed: put the folder itself there")
    return [path for path in sorted(home.glob("step-*")) if path.is_dir() and not path.is_symlink()]


def _write(path: Path, data: bytes) -> None:
    """Write to the disk itself: a power cut must not take a checkpoint that replaced another."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
