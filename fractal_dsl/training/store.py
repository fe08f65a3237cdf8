"""Writes the results of a net in training, and reads them to resume."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import safetensors.torch as st
import torch

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import command
from fractal_dsl.base.manifest import MANIFEST, sha256
from fractal_dsl.base.parts import is_part, open_part, part_folder, read_json, replacing_part, write_part
from fractal_dsl.config import parse_config
from fractal_dsl.evaluation.run import Status, Weights
from fractal_dsl.runs.parts import LENGTHENED, WRITTEN
from fractal_dsl.runtime.world import World
from fractal_dsl.stored.spec import run_settings
from fractal_dsl.training.checkpoint import (
    Checkpoint,
    Progress,
    checkpoints,
    clean,
    jsonl,
    load_checkpoint,
    save_checkpoint,
)


class Store:
    """Holds the results of a net in training. Every file is written beside its place and renamed.

    ``facts`` go into each checkpoint. ``seal`` writes the run's manifest after its files change.
    """

    def __init__(
        self, folder: Path, run: Path, facts: Mapping[str, Any], seal: Callable[[Status], None], world: World
    ) -> None:
        self.folder, self.run, self.facts, self.seal, self.world = folder, run, facts, seal, world
        self._written: dict[str, str] = {}
        self._held: dict[Weights, tuple[dict[str, torch.Tensor], int]] = {}
        world.lead(lambda: part_folder(run, folder.relative_to(run).as_posix()))

    def metrics(self, epochs: Sequence[Mapping[str, Any]]) -> None:
        """Write the figures of the epochs so far, a line each."""
        self.world.lead(lambda: write_part(self.folder, "metrics.jsonl", jsonl(epochs)))

    def gradients(self, norms: Callable[[], Mapping[str, float]]) -> None:
        """Write the gradient norms by module, which the first process measured."""
        self.world.lead(lambda: write_part(self.folder, "gradients.json", json.dumps(norms(), indent=2) + "\n"))

    def weights(self, names: Sequence[Weights], weights: Mapping[str, torch.Tensor], epoch: int) -> None:
        """Copy the first process's parameters and buffers after this epoch. ``flush`` writes them."""
        if self.world.leads:
            state = {key: value.detach().to("cpu", copy=True) for key, value in weights.items()}
            self._held |= dict.fromkeys(names, (state, epoch))

    def flush(self) -> None:
        """Write the pending copies of weights. Each file states the epoch after which they were copied."""
        self.world.lead(self._flush)

    def _flush(self) -> None:
        if not self._held:
            return
        data: dict[int, bytes] = {}
        for state, epoch in self._held.values():
            if id(state) not in data:
                data[id(state)] = st.save({k: v.contiguous() for k, v in state.items()}, {"epoch": str(epoch)})
        written = {name: data[id(state)] for name, (state, _) in self._held.items()}
        now = {name: hashlib.sha256(written[name]).hexdigest() for name in written}
        # if the process is killed at any moment, the file has one of the two hashes
        hashes = {name: [value] for name, value in self._written.items()}
        for name, value in now.items():
            hashes[name] = [*hashes.get(name, ()), value]
        write_part(self.folder, WRITTEN, json.dumps(hashes) + "\n")
        for name, whole in written.items():
            with replacing_part(self.folder, f"{name}.safetensors") as temporary:
                temporary.write_bytes(whole)
        self._written |= now
        self._held.clear()

    def lost(self, checkpoint: Checkpoint) -> list[Weights]:
        """The weights that are missing or altered, and must be written again from the checkpoint.

        Raises UserError if the checkpoint does not have them: the best weights may be of an earlier epoch.
        """
        return self.world.lead(lambda: self._lost(checkpoint))

    def _lost(self, checkpoint: Checkpoint) -> list[Weights]:
        expected, lost = _expected(self.folder, self.run), list[Weights]()
        names: tuple[Weights, ...] = ("best", "last")
        for name in names:
            file = self.folder / f"{name}.safetensors"
            try:
                actual = sha256(file) if is_part(self.folder, file.name) else ""
            except OSError as error:
                raise UserError(f"cannot read {file}: {error.strerror}") from None
            if actual in expected.get(name, []):
                self._written[name] = actual
            else:
                lost.append(name)
        p = checkpoint.progress
        validated = self.facts["config"]["validation"]
        if "best" in lost and validated and (p.batch or p.best_epoch != p.epoch):
            raise UserError(
                f"{self.folder / 'best.safetensors'} is missing, altered or truncated. "
                f"No checkpoint has the weights of epoch {p.best_epoch}: restore the file, or train again"
            )
        return lost

    def epoch_of(self, name: Weights) -> int:
        """The epoch after which weights were written."""
        with open_part(self.folder, f"{name}.safetensors") as file:  # safe_open needs a path in UTF-8
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return int(header["__metadata__"]["epoch"])

    def checkpoint(
        self, progress: Progress, tensors: Mapping[str, torch.Tensor], epochs: Sequence[Any], sharded: bool
    ) -> None:
        """Write the whole state. Raises UserError if the disk is full."""
        save_checkpoint(self.folder, progress, tensors, epochs, self.facts, world=self.world, sharded=sharded)

    def _lengthened(self, was: Mapping[str, Any]) -> bool:
        """Whether the run was given more epochs after a checkpoint of these settings."""
        before, now = was.get("epochs"), self.facts["config"]["epochs"]
        known = lengths(self.run, now)
        return before in known and now in known and before < now

    def resumable(self) -> bool:
        """Whether there is a state to resume from, in a sealed run. Unsealed runs are deleted."""
        return (self.run / MANIFEST).is_file() and self._saved()

    def _saved(self) -> bool:
        return bool(checkpoints(self.folder))

    @contextmanager
    def kept(self, statement: str = "The last good state is kept") -> Generator[None]:
        """If something cannot be read or written, tell the user how to resume from the last good state."""
        try:
            yield
        except UserError as error:
            if not self.resumable():
                raise
            remedy = f"Fix the problem, then resume with: {self.resume_command()}"
            raise UserError(f"{error}\n{statement} in {self.folder}. {remedy}") from None

    def resume_command(self) -> str:
        """The command that resumes the run."""
        resume, kind = command("train", "--resume", str(self.run)), self.facts["processes"].rpartition(" by ")[2]
        return f"fractal-dsl {resume}" if kind == "1" else f"torchrun … -m fractal_dsl {resume} --parallel {kind}"

    def reopen(self) -> None:
        """Remove the final figures of a run that resumes."""
        self.world.lead(lambda: (self.run / "result.json").unlink(missing_ok=True))
        self.seal("running")

    def restored(self, say: Callable[[str], object]) -> Checkpoint | None:
        """The newest undamaged checkpoint, or None without checkpoints. Damaged ones are reported to ``say``.

        Raises UserError if all are damaged, or the run's spec or settings have changed since.
        """
        return self.world.lead(lambda: self._restored(say))

    def _restored(self, say: Callable[[str], object]) -> Checkpoint | None:
        clean(self.folder)
        if not self._saved():
            return None
        checkpoint = load_checkpoint(self.folder, say)
        same = {
            "spec": "spec",
            "params": "parameters",
            "config": "settings",
            "graph_sha256": "graph",
            "initial": "first weights",
        }
        for key, label in same.items():
            was = getattr(checkpoint.manifest, key)
            if key == "config":
                was = parse_config(was).model_dump(mode="json")  # fills in settings that an earlier version lacked
                was |= {"epochs": self.facts[key]["epochs"]} if self._lengthened(was) else {}
            if was != self.facts[key]:
                verb = "have" if label.endswith("s") else "has"
                raise UserError(
                    f"the {label} in {self.run} {verb} changed since its checkpoint: restore the original, "
                    "or train again"
                )
        for key in ("device", "threads", "processes", "versions"):
            was, now = _listed(getattr(checkpoint.manifest, key)), _listed(self.facts[key])
            if was != now:
                say(f"note: {key} was {was} and is now {now}; the last bits may differ from an uninterrupted run")
        return checkpoint


def lengths(run: Path, now: int) -> set[int]:
    """The numbers of epochs that a run was set to, including ``now`` if it gets them; empty if it was never extended.

    Raises UserError if they cannot be read.
    """
    before = run_settings(run)["epochs"]
    extended = {before, now} if before != now else set[int]()
    if not is_part(run, LENGTHENED):
        return extended
    try:
        return extended | msgspec.convert(read_json(run, LENGTHENED), set[int])
    except (OSError, ValueError) as error:
        raise UserError(f"{run / LENGTHENED} cannot be read: {error}") from None


def _expected(folder: Path, run: Path) -> Mapping[str, Sequence[str]]:
    """For each name of weights in a folder of the run, the hashes that their file may have.

    If the folder was copied without its hidden files, they come from the run's manifest.
    """
    try:
        if is_part(folder, WRITTEN):
            return read_json(folder, WRITTEN)
        files: dict[str, str] = read_json(run, MANIFEST)["files"]
        of = {name: (folder / f"{name}.safetensors").relative_to(run).as_posix() for name in ("best", "last")}
        return {name: [files[path]] for name, path in of.items() if path in files}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _listed(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in cast(dict[str, object], value).items())
    return str(value)
