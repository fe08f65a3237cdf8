"""A training run as a folder: what was trained, how, what came of it, and the weights.

``spec.frac``          the spec as given            ``last.safetensors``  the weights after the last epoch
``params.json``        the net and its parameters   ``best.safetensors``  those that did best on validation images
``config.json``        the resolved settings        ``metrics.jsonl``     a line for each epoch
``result.json``        the figures on test images   ``report.html``       and its pictures, ``*.svg``
``paths.json``         paths by length, whole and expected under drop-path, where the net is not too large
``gradients.json``     with --track-columns, after the last epoch: the L2 norm of the gradient of each layer by module
``normalisation.json`` mean and deviation by channel, which images are normalised by
``manifest.json``      status, versions, graph hash, and the hash of each other file
``checkpoints/``       the whole state, twice, to resume from; not in the manifest, for it changes at any time
``plain/``             where asked for: one column's architecture trained alone, with a metrics.jsonl of its own
``.lock``              the process that trains it holds a lock on it, and its host and number stand there
``.weights.json``      hashes of the weights, by which ``--resume`` knows them, though the manifest be older
``tensorboard/``       where asked for; not in the manifest
"""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast

import safetensors.torch as st
import torch
from safetensors import safe_open

from fractal_dsl.config import ConfigError, TrainConfig, parse_config
from fractal_dsl.diagnostics import FracError, UserError
from fractal_dsl.driver import Compiled, compile_file, parse
from fractal_dsl.files import MANIFEST, replacing, sha256, write_manifest, write_text
from fractal_dsl.path_lengths import expected_path_lengths, path_lengths
from fractal_dsl.run_manifest import FORMAT, FORMAT_VERSION, read_run_manifest
from fractal_dsl.runtime.artifact import graph_sha256, load_weights
from fractal_dsl.runtime.checkpoint import (
    FOLDER,
    WRITTEN,
    Checkpoint,
    Progress,
    clean,
    jsonl,
    load_checkpoint,
    save_checkpoint,
)
from fractal_dsl.runtime.graph_to_fx import graph_to_modules
from fractal_dsl.runtime.lock import LOCK, held
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.parallel.world import ALONE, World
from fractal_dsl.source import Source
from fractal_dsl.syntax_to_text import syntax_to_text
from fractal_dsl.version import __version__

TENSORBOARD = "tensorboard"
DRAWN = ("report.html", "curves.svg", "columns.svg", "losses.svg", "gradients.svg", "paths.svg")
"""What ``fractal-dsl report`` makes again from the rest."""

Weights = Literal["best", "last"]
Status = Literal["running", "finished", "interrupted", "out of time", "diverged"]

_PATHS_COUNTED = 500


@dataclass(frozen=True)
class Run:
    """A run that was opened and found whole."""

    folder: Path
    compiled: Compiled
    config: TrainConfig
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, folder: str | Path, *, allow_python: bool = False) -> Run:
        """Check a run's files against its manifest and compile its spec.

        Raises UserError if a part is missing, altered, of another version, or does not compile any more.
        """
        folder = Path(folder)
        manifest = read_run_manifest(folder)
        compiled, config = _spec_of(folder, allow_python)
        if graph_sha256(compiled.graph) != manifest["graph_sha256"]:
            made = manifest["versions"]["fractal_dsl"]
            raise UserError(f"{folder} was trained with fractal_dsl {made}, which compiled its spec to another graph")
        return cls(folder, compiled, config, manifest)

    def load(self, weights: Weights = "best") -> FractalModule:
        """The net with the run's weights, in eval mode, on the CPU. Raises UserError if they do not fit."""
        graph = self.compiled.graph
        model = FractalModule(graph, graph_to_modules(graph), self.config.seed)
        load_weights(model, [self.folder / f"{weights}.safetensors"])
        return model.eval()

    def normalisation(self) -> tuple[list[float], list[float]]:
        """The mean and the standard deviation, by channel, that the run normalised its images by."""
        try:
            found = json.loads((self.folder / "normalisation.json").read_text("utf-8"))
            return found["mean"], found["std"]
        except (OSError, ValueError, KeyError, TypeError):
            made = self.manifest["versions"]["fractal_dsl"]
            raise UserError(
                f"{self.folder} was trained with fractal_dsl {made} and has no normalisation.json, which says how its "
                "images were normalised: train it again"
            ) from None


@dataclass(frozen=True)
class RunResult:
    """How a run ended. ``loss``, ``accuracy`` and ``columns`` are the best weights' on the test images.

    ``ended`` is why: epochs, patience, interrupted, minutes. ``plain`` has the figures of one column's architecture
    trained alone, where that was asked for.
    """

    folder: Path
    status: Status
    ended: str
    epochs: int
    best_epoch: int
    validation_images: int
    loss: float
    accuracy: float
    columns: list[dict[str, float]]
    plain: dict[str, Any] | None
    seconds: float
    images_per_second: float


class Store:
    """Where a net in training puts what comes of it. Every file is written beside its place and renamed.

    ``facts`` go into each checkpoint; ``seal`` closes the run's folder after a change of its files.
    """

    def __init__(
        self, folder: Path, run: Path, facts: Mapping[str, Any], seal: Callable[[Status], None], world: World
    ) -> None:
        self.folder, self.run, self.facts, self.seal, self.world = folder, run, facts, seal, world
        self._written: dict[str, str] = {}
        world.lead(lambda: folder.mkdir(exist_ok=True))

    def metrics(self, epochs: Sequence[Mapping[str, Any]]) -> None:
        """Write the figures of the epochs so far, a line each."""
        self.world.lead(lambda: write_text(self.folder / "metrics.jsonl", jsonl(epochs)))

    def gradients(self, norms: Callable[[], Mapping[str, float]]) -> None:
        """Write the gradients' norms by module, which the first process has measured."""
        self.world.lead(lambda: write_text(self.folder / "gradients.json", json.dumps(norms(), indent=2) + "\n"))

    def weights(self, name: Weights, weights: Mapping[str, torch.Tensor], epoch: int) -> None:
        """Write parameters and buffers, which are those of the first process; the file says after which epoch."""

        def write() -> None:
            state = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
            data = st.save(state, {"epoch": str(epoch)})
            before, now = self._written.get(name), hashlib.sha256(data).hexdigest()
            # killed at whatever moment, what lies there is one of the two
            hashes = {key: [value] for key, value in self._written.items()}
            hashes[name] = [now] if before is None else [before, now]
            write_text(self.folder / WRITTEN, json.dumps(hashes) + "\n")
            with replacing(self.folder / f"{name}.safetensors") as temporary:
                temporary.write_bytes(data)
            self._written[name] = now

        self.world.lead(write)

    def lost(self, checkpoint: Checkpoint) -> list[Weights]:
        """Which weights are missing or altered, and are to be written again from the checkpoint.

        Raises UserError if they are not those of the checkpoint: the best ones may be of an epoch before.
        """
        return self.world.lead(lambda: self._lost(checkpoint))

    def _lost(self, checkpoint: Checkpoint) -> list[Weights]:
        expected, lost = _expected(self.folder, self.run), list[Weights]()
        names: tuple[Weights, ...] = ("best", "last")
        for name in names:
            file = self.folder / f"{name}.safetensors"
            try:
                found = sha256(file) if file.is_file() else ""
            except OSError as error:
                raise UserError(f"cannot read {file}: {error.strerror}") from None
            if found in expected.get(name, []):
                self._written[name] = found
            else:
                lost.append(name)
        p = checkpoint.progress
        validated = checkpoint.manifest["config"]["validation"]
        if "best" in lost and validated and (p.batch or p.best_epoch != p.epoch):
            raise UserError(
                f"{self.folder / 'best.safetensors'} is missing, or not as it was written: altered, or cut off. "
                f"No checkpoint has the weights of epoch {p.best_epoch}: restore the file, or train again"
            )
        return lost

    def epoch_of(self, name: Weights) -> int:
        """After which epoch weights were written."""
        with cast(Any, safe_open)(self.folder / f"{name}.safetensors", "pt") as file:
            return int(file.metadata()["epoch"])

    def checkpoint(
        self, progress: Progress, tensors: Mapping[str, torch.Tensor], epochs: Sequence[Any], sharded: bool
    ) -> None:
        """Write the whole state. Raises UserError where the disk is full."""
        save_checkpoint(self.folder, progress, tensors, epochs, self.facts, world=self.world, sharded=sharded)

    def resumable(self) -> bool:
        """Whether there is a state to go on from."""
        return (self.folder / FOLDER).is_dir()

    def resume_command(self) -> str:
        """What to type to go on."""
        resume, way = shlex.join(["train", "--resume", str(self.run)]), self.facts["processes"].rpartition(" by ")[2]
        return f"fractal-dsl {resume}" if way == "1" else f"torchrun … -m fractal_dsl {resume} --parallel {way}"

    def reopen(self) -> None:
        """The run goes on: the figures that it stopped with are no longer those of its end."""
        self.world.lead(lambda: (self.run / "result.json").unlink(missing_ok=True))
        self.seal("running")

    def restored(self, say: Callable[[str], object]) -> Checkpoint | None:
        """The newest whole checkpoint, if there is any; ``say`` is told what is not whole.

        Raises UserError if none is whole, or the run's spec or settings are not those that it was made with.
        """
        return self.world.lead(lambda: self._restored(say))

    def _restored(self, say: Callable[[str], object]) -> Checkpoint | None:
        clean(self.folder)
        if not self.resumable():
            return None
        found = load_checkpoint(self.folder, say)
        same = {"spec": "spec", "params": "parameters", "config": "settings", "graph_sha256": "graph"}
        for key, what in same.items():
            if found.manifest[key] != self.facts[key]:
                raise UserError(
                    f"the {what} in {self.run} are not what its checkpoint was made with: put back what was there, "
                    "or train again"
                )
        for key in ("device", "threads", "processes", "versions"):
            if found.manifest.get(key, self.facts[key]) != self.facts[key]:
                was, now = _listed(found.manifest[key]), _listed(self.facts[key])
                say(f"note: {key} was {was} and is {now}; the last bits may differ from those of an unbroken run")
        return found


class RunWriter:
    """Writes a run's folder."""

    def __init__(
        self,
        folder: Path,
        compiled: Compiled,
        config: TrainConfig,
        device: str,
        threads: int,
        world: World = ALONE,
        processes: str = "1",
    ) -> None:
        self.folder, self.compiled, self.config, self.world = folder, compiled, config, world
        self.facts: dict[str, Any] = {
            "spec": {name: _canonical(name, text) for name, text in compiled.spec_files().items()},
            "params": dict(compiled.overrides),
            "config": config.model_dump(mode="json"),
            "graph_sha256": graph_sha256(compiled.graph),
            "versions": versions(),
            "device": device,
            "threads": threads,
            "processes": processes,
        }

    @classmethod
    def new(
        cls,
        compiled: Compiled,
        config: TrainConfig,
        folder: Path,
        device: str,
        threads: int,
        world: World = ALONE,
        processes: str = "1",
    ) -> RunWriter:
        """Begin a run in an empty folder, with the parts that are known before training."""
        run = cls(folder, compiled, config, device, threads, world, processes)
        world.lead(run._begin)
        return run

    def _begin(self) -> None:
        """Write what is known before training."""
        compiled = self.compiled
        for name, text in compiled.spec_files().items():
            write_text(self.folder / name, text)
        given = {"net": compiled.program.net, "params": dict(compiled.overrides), "max_layers": compiled.max_layers}
        self._write_json("params.json", given)
        self._write_json("config.json", self.config.model_dump(mode="json"))
        if compiled.summary.base_layers <= _PATHS_COUNTED:
            self._write_json("paths.json", _paths(compiled))

    def store(self, part: str = "") -> Store:
        """Where the net's own training is kept, or that of a part of the run in a folder of that name."""
        return Store(self.folder / part, self.folder, self.facts, self.seal, self.world)

    def normalisation(self, mean: torch.Tensor | None, std: torch.Tensor | None) -> None:
        """Write the mean and the standard deviation, by channel, that images are normalised by; tokens are not."""
        if mean is not None and std is not None:
            found: dict[str, Any] = {"mean": mean.flatten().tolist(), "std": std.flatten().tolist()}
            self.world.lead(lambda: self._write_json("normalisation.json", found))

    def result(self, result: Mapping[str, Any]) -> None:
        """Write the figures of the finished run."""
        self.world.lead(lambda: self._write_json("result.json", result))

    def seal(self, status: Status) -> None:
        """Write the manifest over all files of the folder: from here on the run can be opened."""
        self.world.lead(lambda: self._seal(status))

    def _seal(self, status: Status) -> None:
        manifest = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "status": status,
            "net": self.compiled.program.net,
            "graph_sha256": self.facts["graph_sha256"],
            "versions": self.facts["versions"],
        }
        write_manifest(self.folder, manifest, without=(FOLDER, TENSORBOARD, *DRAWN))

    def abandon(self) -> None:
        """Take the folder away again, if it is not sealed: nothing in it can be used."""
        if self.world.leads and not (self.folder / MANIFEST).exists():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write_json(self, name: str, data: Any) -> None:
        write_text(self.folder / name, json.dumps(data, indent=2) + "\n")


@contextmanager
def locked(folder: Path, world: World) -> Generator[None]:
    """Keep all but the processes of this run from its folder. Raises UserError if others are at work in it."""
    with ExitStack() as stack:
        world.lead(lambda: stack.enter_context(held(folder)))
        yield


def unfinished(folder: Path) -> Path:
    """The folder of a run. Raises UserError if it is none."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    if not all((folder / name).is_file() for name in ("spec.frac", "params.json", "config.json")):
        raise UserError(f"{folder} is no training run that can be resumed: it has no spec.frac or no settings")
    return folder


def spec_of_unfinished(folder: Path, *, allow_python: bool = False) -> tuple[Compiled, TrainConfig]:
    """The spec and the settings of a run that is to be resumed, whose files need not fit its manifest.

    Raises UserError if it ended for good, or its spec does not compile.
    """
    status = _status(folder)
    if status == "finished":
        raise UserError(f"{folder} is finished: there is nothing to resume. `fractal-dsl report {folder}` shows it")
    if status == "diverged":
        raise UserError(f"{folder} diverged, and would again: train anew with a lower rate")
    return _spec_of(folder, allow_python)


def _expected(folder: Path, run: Path) -> Mapping[str, Sequence[str]]:
    """By the name of weights in a folder of the run: the hashes that their file may have.

    Where the folder was copied without its hidden files, those of the run's manifest.
    """
    try:
        if (folder / WRITTEN).is_file():
            return json.loads((folder / WRITTEN).read_text("utf-8"))
        files: dict[str, str] = json.loads((run / MANIFEST).read_text("utf-8"))["files"]
        of = {name: (folder / f"{name}.safetensors").relative_to(run).as_posix() for name in ("best", "last")}
        return {name: [files[path]] for name, path in of.items() if path in files}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _status(folder: Path) -> Status | None:
    try:
        return json.loads((folder / MANIFEST).read_text("utf-8"))["status"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _spec_of(folder: Path, allow_python: bool) -> tuple[Compiled, TrainConfig]:
    try:
        given = json.loads((folder / "params.json").read_text("utf-8"))
        config = parse_config(json.loads((folder / "config.json").read_text("utf-8")))
        compiled = compile_file(
            folder / "spec.frac", given["params"], given["net"], given["max_layers"], allow_python=allow_python
        )
    except FracError as error:
        raise UserError(f"the spec in {folder} does not compile any more:\n{error}") from None
    except ConfigError as error:
        raise UserError(f"{folder / 'config.json'}: settings that this version does not take:\n{error}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{folder / 'params.json'} or config.json is damaged: restore it, or train again") from None
    return compiled, config


def _paths(compiled: Compiled) -> dict[str, Any]:
    """Of each length the share of all paths, and of the paths that are expected to be live in a training step."""
    whole, live = path_lengths(compiled.graph), expected_path_lengths(compiled.graph)
    total, expected = sum(whole.values()), sum(live.values())
    return {
        "lengths": list(whole),
        "whole": [float(Fraction(count, total)) for count in whole.values()],
        "live": [float(live.get(length, Fraction(0)) / expected) for length in whole],
        "total": total,
        "expected": float(expected),
    }


def _canonical(name: str, text: str) -> str:
    """A spec in the formatter's style."""
    return syntax_to_text(parse(Source(name, text)))


def _listed(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in cast(dict[str, object], value).items())
    return str(value)


def versions() -> dict[str, str]:
    """What the run's figures depend on."""
    return {"fractal_dsl": __version__, "torch": str(torch.__version__), "python": platform.python_version()}


def new_folder(net: str, out: Path | None) -> Path:
    """Make the folder ``out``, or the next free ``runs/NET-1``.

    Raises UserError if ``out`` has something in it or cannot be made.
    """
    try:
        if out is not None:
            if out.exists() and (not out.is_dir() or any(f.name != LOCK for f in out.iterdir())):
                raise UserError(f"{out} exists and is not empty: choose a new folder with --out, or leave --out away")
            out.mkdir(parents=True, exist_ok=True)
            return out
        runs, number = Path("runs"), 1
        runs.mkdir(exist_ok=True)
        while True:
            folder = runs / f"{net.lower()}-{number}"
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                number += 1
    except OSError as error:
        raise UserError(f"cannot make the folder {out or 'runs'}: {error.strerror}") from None
