"""Writes the folder of a run (``evaluation/run.py`` lists its files)."""

from __future__ import annotations

import json
import platform
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import safetensors.torch as st
import torch
from torch import Tensor

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.lock import LOCK, held
from fractal_dsl.base.manifest import MANIFEST, sha256, write_manifest
from fractal_dsl.base.parts import is_part, replacing_part, write_new_parts, write_part
from fractal_dsl.base.version import __version__
from fractal_dsl.compiled import Compiled
from fractal_dsl.config import TrainConfig
from fractal_dsl.evaluation.run import Status
from fractal_dsl.graph.path_lengths import expected_path_lengths, path_lengths
from fractal_dsl.language.source import Source
from fractal_dsl.language.syntax_to_text import syntax_to_text
from fractal_dsl.pipeline import parse
from fractal_dsl.runs.data_record import DataRecord
from fractal_dsl.runs.parts import INITIAL, LENGTHENED, ORIGIN, SEALED, discard
from fractal_dsl.runtime.artifact import graph_sha256
from fractal_dsl.runtime.world import ALONE, World
from fractal_dsl.stored.kinds import RUN_FORMAT
from fractal_dsl.stored.manifests import RUN_VERSION
from fractal_dsl.stored.spec import run_settings
from fractal_dsl.training.initial import InitialOrigin
from fractal_dsl.training.store import Store, lengths

_PATHS_COUNTED = 500


class RunWriter:
    """Writes the folder of one run, from its beginning to its end."""

    def __init__(
        self,
        folder: Path,
        compiled: Compiled,
        config: TrainConfig,
        device: str,
        threads: int,
        world: World = ALONE,
        processes: str = "1",
        spec: str | None = None,
    ) -> None:
        """``spec`` is the spec's main file in the folder, by default where new runs have it."""
        self.folder, self.compiled, self.config, self.world = folder, compiled, config, world
        self.classes: list[str] = []
        self.spec = spec or compiled.stored
        self.facts: dict[str, Any] = {
            "spec": {name: _canonical(name, text) for name, text in compiled.texts.items()},
            "params": dict(compiled.overrides),
            "config": config.model_dump(mode="json"),
            "graph_sha256": graph_sha256(compiled.graph),
            "versions": versions(),
            "device": device,
            "threads": threads,
            "processes": processes,
            "initial": sha256(folder / INITIAL) if is_part(folder, INITIAL) else None,
        }

    def begin(self, initial: Mapping[str, Tensor] | None = None, origin: InitialOrigin | None = None) -> None:
        """Write the parts that are known before training into the empty folder.

        ``initial`` are the initial weights, if they were not drawn from the seed.
        """
        if initial is not None:
            self.world.lead(lambda: _write_tensors(self.folder, INITIAL, initial))
            self.facts["initial"] = sha256(self.folder / INITIAL)
        if origin is not None:
            self.world.lead(lambda: write_part(self.folder, ORIGIN, json.dumps(origin.record(), indent=2) + "\n"))
        self.world.lead(self._begin)

    def _begin(self) -> None:
        compiled = self.compiled
        write_new_parts(self.folder, compiled.spec_files(self.spec))
        given = {"spec": self.spec, "net": compiled.program.net, "params": dict(compiled.overrides)}
        self._write_json("params.json", given)
        self._write_json("config.json", self.config.model_dump(mode="json"))
        if compiled.summary.base_layers <= _PATHS_COUNTED:
            self._write_json("paths.json", _paths(compiled))

    def store(self, part: str = "") -> Store:
        """The store for the training of the net, or of a part of the run in a folder of that name."""
        return Store(self.folder / part, self.folder, self.facts, self.seal, self.world)

    def data(self, record: DataRecord) -> None:
        """Write the record of the run's data."""
        self.classes = record.classes
        self.world.lead(lambda: record.write(self.folder))

    def lengthen(self) -> None:
        """Record that the run now has the epochs of ``config``, which are more than before.

        Files are written in an order in which the run can be resumed at any time: until its settings say otherwise, it
        has the epochs that it had.
        """
        self.world.lead(self._lengthen)

    def _lengthen(self) -> None:
        if self.config.epochs == run_settings(self.folder)["epochs"]:
            return
        (self.folder / "result.json").unlink(missing_ok=True)
        self._seal("running")
        self._write_json(LENGTHENED, sorted(lengths(self.folder, self.config.epochs)))
        self._write_json("config.json", self.config.model_dump(mode="json"))
        self._seal("running")

    def result(self, result: Mapping[str, Any]) -> None:
        """Write the figures of the finished run."""
        self.world.lead(lambda: self._write_json("result.json", result))

    def seal(self, status: Status) -> None:
        """Write the manifest of all parts of the run, which makes the run readable."""
        self.world.lead(lambda: self._seal(status))

    def _seal(self, status: Status) -> None:
        manifest = {
            "format": RUN_FORMAT,
            "format_version": RUN_VERSION,
            "status": status,
            "net": self.compiled.program.net,
            "classes": self.classes,
            "graph_sha256": self.facts["graph_sha256"],
            "versions": self.facts["versions"],
        }
        write_manifest(self.folder, manifest, [*self.compiled.spec_files(self.spec), *SEALED])

    def abandon(self) -> None:
        """Delete what was written if it is not sealed, because it is of no use."""
        if self.world.leads and not (self.folder / MANIFEST).exists():
            discard(self.folder, self.compiled.spec_files(self.spec))

    def _write_json(self, name: str, data: Any) -> None:
        write_part(self.folder, name, json.dumps(data, indent=2) + "\n")


def _write_tensors(folder: Path, name: str, tensors: Mapping[str, Tensor]) -> None:
    with replacing_part(folder, name) as temporary:
        temporary.write_bytes(st.save({name: value.contiguous() for name, value in tensors.items()}))


@contextmanager
def locked(folder: Path, world: World) -> Generator[None]:
    """Keep the processes of other runs out of a folder. Raises UserError if others use it already."""
    with ExitStack() as stack:
        world.lead(lambda: stack.enter_context(held(folder)))
        yield


def _paths(compiled: Compiled) -> dict[str, Any]:
    """For each length, the share of all paths, and of the paths expected to be live in a training step."""
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


def versions() -> dict[str, str]:
    """The versions that the run's figures depend on."""
    return {"fractal_dsl": __version__, "torch": str(torch.__version__), "python": platform.python_version()}


def new_folder(net: str, out: Path | None) -> Path:
    """Create the folder ``out``, or the next free ``runs/NET-1``.

    Raises UserError if ``out`` is not empty or cannot be created.
    """
    try:
        if out is not None:
            if out.exists() and (not out.is_dir() or any(f.name != LOCK for f in out.iterdir())):
                raise UserError(f"{out} exists and is not empty: choose a new folder with --out, or omit --out")
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
        raise UserError(f"cannot create the folder {out or 'runs'}: {error.strerror}") from None
