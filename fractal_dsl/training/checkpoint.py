"""The whole state of a run as folders ``checkpoints/step-N``, from which it resumes bit-identically.

``state.safetensors``  parameters, buffers, the optimizer's state, the average of the weights, the epoch's sums; if
                       processes share them, one file from each, by ``torch.distributed.checkpoint``
``metrics.jsonl``      the figures of the epochs so far
``manifest.json``      progress, spec, parameters, settings, graph hash, versions, and the hashes of the files

A folder is written beside its place and renamed, and the one before it stays. There are no pickles. Any number of
processes can read a checkpoint, whatever number wrote it.
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
    """The progress of a run: its state apart from tensors.

    ``epoch`` epochs are done, and of the next one ``batch`` mini-batches with ``images`` examples. ``ended`` is why the
    run stopped. ``patience`` counts from the best epoch, or from ``patient_from`` if that is later. Seconds count
    training time over all sessions of the run; of those of the epoch, ``epoch_waited`` were spent waiting for data.
    """

    step: Count = 0
    epoch: Count = 0
    batch: Count = 0
    images: Count = 0
    epoch_seconds: float = 0.0
    epoch_waited: float = 0.0
    seconds: float = 0.0
    best: list[float] = field(default_factory=list[float])
    best_epoch: Count = 0
    patient_from: Count = 0
    ended: Ended = ""
    scaler: dict[str, Any] = field(default_factory=dict[str, Any])


class CheckpointManifest(Manifest, frozen=True, kw_only=True):
    """What the manifest of a checkpoint has: the progress, and the run that it belongs to."""

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
"""Maps a tensor's name in a checkpoint to a tensor with the wanted placement, or to None to leave it out."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read. Its tensors are still in the folder."""

    folder: Path
    progress: Progress
    epochs: list[dict[str, Any]]
    manifest: CheckpointManifest

    def tensors(self, like: Like | None = None) -> dict[str, Tensor]:
        """The tensors by name: whole, or placed as ``like`` says. All processes must then call this together.

        Raises UserError if they cannot be read.
        """
        try:
            whole = self.folder / "state.safetensors"
            if like is None and whole.exists():
                return dict(sorted(st.load(whole.read_bytes()).items()))  # load_file needs a path in UTF-8
            require_utf8(self.folder)
            from fractal_dsl.training.parallel.shards import read_shards  # takes a second to import

            return read_shards(self.folder, like)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{self.folder} cannot be read: {error}") from None


def require_utf8(folder: Path) -> None:
    """Raise UserError if a path is not UTF-8. Torch reads the state of several processes only from UTF-8 paths."""
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise UserError(f"the path {folder} is not UTF-8, which --parallel fsdp and pipeline need: rename it") from None


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
    """Write the state of a run, and keep the newest earlier one. Raises UserError if the disk is full.

    All processes of the run call this. The first one writes; if each has a part of the tensors, all do.
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
    """The newest undamaged checkpoint of a run. Damaged ones are renamed and reported to ``say``.

    Raises UserError if there is none, or one cannot be read for a reason that the user can fix.
    """
    saved = checkpoints(run)
    if not saved:
        raise UserError(f"{run} has no checkpoint to resume from: train again")
    for folder in reversed(saved):
        try:
            return _read(folder)
        except DamagedError as error:
            refused = folder.with_name(f"refused-{folder.name}")
            remove(refused)
            folder.rename(refused)
            say(f"{error}; trying the checkpoint before it")
        except UserError as error:
            raise UserError(
                f"{error}\nThe checkpoint is unchanged. Make it readable, or resume with the version of "
                f"fractal_dsl that wrote it; to resume from the checkpoint before it, move {folder} away first"
            ) from None
    raise UserError(f"{run} has no undamaged checkpoint: train again")


def clean(run: Path) -> None:
    """Delete what a killed process left half-written. This process must hold the run's lock."""
    for folder in (run, run / CHECKPOINTS):
        remove_temporaries(folder)


def jsonl(epochs: Sequence[Mapping[str, Any]]) -> str:
    """Figures as JSON lines."""
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
    """The checkpoints of a run, oldest first, without links. Raises UserError if their folder is a link."""
    folder = run / CHECKPOINTS
    if folder.is_symlink():
        raise UserError(f"{folder} is a link, and links in a run are not followed: put the folder itself there")
    return [path for path in sorted(folder.glob("step-*")) if path.is_dir() and not path.is_symlink()]


def _write(path: Path, data: bytes) -> None:
    """Write through to the disk, so that a power cut does not lose a checkpoint that replaced another."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
