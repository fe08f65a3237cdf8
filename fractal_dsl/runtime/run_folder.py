"""A training run as a folder: what was trained, how, what came of it, and the weights.

``spec.frac``          the spec as given            ``last.safetensors``  the weights after the last epoch
``params.json``        the net and its parameters   ``best.safetensors``  those that did best on validation images
``config.json``        the resolved settings        ``metrics.jsonl``     a line for each epoch
``result.json``        the figures on test images   ``report.html``       and its pictures, ``*.svg``
``normalisation.json`` mean and deviation by channel, which images are normalised by
``manifest.json``      status, versions, graph hash, and the hash of each other file
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch as st
import torch

from fractal_dsl.config import ConfigError, TrainConfig, parse_config
from fractal_dsl.diagnostics import FracError, UserError
from fractal_dsl.driver import Compiled, compile_file
from fractal_dsl.files import MANIFEST, read_manifest, replacing, write_manifest, write_text
from fractal_dsl.runtime.artifact import graph_sha256, load_weights
from fractal_dsl.runtime.graph_to_fx import graph_to_modules
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.version import __version__

FORMAT = "fractal_dsl run"
FORMAT_VERSION = 1

Weights = Literal["best", "last"]
Status = Literal["running", "finished", "interrupted", "diverged"]

_NEEDED = ("spec.frac", "params.json", "config.json", "metrics.jsonl", "last.safetensors", "best.safetensors")


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
        manifest = _read_manifest(folder)
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
    """How a run ended. ``loss``, ``accuracy`` and ``columns`` are the best weights' on the test images."""

    folder: Path
    status: Status
    epochs: int
    best_epoch: int
    loss: float
    accuracy: float
    columns: list[dict[str, float]]
    seconds: float
    images_per_second: float


class RunWriter:
    """Writes a run's folder. Every file is written beside its place and renamed."""

    def __init__(self, compiled: Compiled, config: TrainConfig, out: Path | None) -> None:
        """Make the folder ``out``, or the next free ``runs/NET-1``, with the parts that are known before training.

        Raises UserError if ``out`` has something in it or cannot be made.
        """
        self.compiled = compiled
        files = compiled.spec_files()
        self.folder = _new_folder(compiled.program.net, out)
        for name, text in files.items():
            write_text(self.folder / name, text)
        self._write_json(
            "params.json",
            {
                "net": compiled.program.net,
                "params": dict(compiled.overrides),
                "max_layers": compiled.max_layers,
            },
        )
        self._write_json("config.json", config.model_dump(mode="json"))
        self.metrics([])

    def metrics(self, epochs: Sequence[Mapping[str, Any]]) -> None:
        """Write the figures of the epochs so far, a line each."""
        write_text(self.folder / "metrics.jsonl", "".join(json.dumps(epoch) + "\n" for epoch in epochs))

    def weights(self, name: Weights, model: FractalModule) -> None:
        """Write the model's parameters and buffers."""
        state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
        with replacing(self.folder / f"{name}.safetensors") as temporary:
            temporary.write_bytes(st.save(state))

    def normalisation(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Write the mean and the standard deviation, by channel, that images are normalised by."""
        self._write_json("normalisation.json", {"mean": mean.flatten().tolist(), "std": std.flatten().tolist()})

    def result(self, result: Mapping[str, Any]) -> None:
        """Write the figures of the finished run."""
        self._write_json("result.json", result)

    def seal(self, status: Status) -> None:
        """Write the manifest over all files of the folder: from here on the run can be opened."""
        manifest = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "status": status,
            "net": self.compiled.program.net,
            "graph_sha256": graph_sha256(self.compiled.graph),
            "versions": versions(),
        }
        write_manifest(self.folder, manifest)

    def abandon(self) -> None:
        """Take the folder away again, if it is not sealed: nothing in it can be used."""
        if not (self.folder / MANIFEST).exists():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write_json(self, name: str, data: Any) -> None:
        write_text(self.folder / name, json.dumps(data, indent=2) + "\n")


def versions() -> dict[str, str]:
    """What the run's figures depend on."""
    return {"fractal_dsl": __version__, "torch": str(torch.__version__), "python": platform.python_version()}


def _new_folder(net: str, out: Path | None) -> Path:
    try:
        if out is not None:
            if out.exists() and (not out.is_dir() or any(out.iterdir())):
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


def _read_manifest(folder: Path) -> dict[str, Any]:
    return read_manifest(
        folder,
        "training run",
        format=FORMAT,
        version=FORMAT_VERSION,
        keys=("graph_sha256", "status"),
        parts=_NEEDED,
        remedy="restore the file, or train again",
    )
