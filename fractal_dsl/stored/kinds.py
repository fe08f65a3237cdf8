"""The kind of a folder: a compiled network, a training run, a sweep, or something else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, cast

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import command
from fractal_dsl.base.manifest import MANIFEST
from fractal_dsl.base.parts import is_part, read_json

StoredKind = Literal["compiled network", "training run", "sweep"]

NETWORK_FORMAT: Final = "fractal_dsl network"
RUN_FORMAT: Final = "fractal_dsl run"
SWEEP_FORMAT: Final = "fractal_dsl sweep"
SWEEP_FILE: Final = "sweep.json"

_FORMATS: Final[dict[str, StoredKind]] = {NETWORK_FORMAT: "compiled network", RUN_FORMAT: "training run"}
_SETTINGS: Final = ("params.json", "config.json")
_NETWORK: Final = ("model.py", "weights.safetensors")


def kind_of(folder: Path) -> StoredKind | None:
    """The kind of a folder, by its manifest, or by its files if the manifest is missing or damaged."""
    name = _json(folder, MANIFEST).get("format")
    if isinstance(name, str) and name in _FORMATS:
        return _FORMATS[name]
    if _json(folder, SWEEP_FILE).get("format") == SWEEP_FORMAT:
        return "sweep"
    if has_settings(folder):
        return "training run"
    return "compiled network" if _has_spec_and(folder, _NETWORK) else None


def has_settings(folder: Path) -> bool:
    """Whether a folder has the spec and the settings of a training run, finished or not."""
    return _has_spec_and(folder, _SETTINGS)


def _has_spec_and(folder: Path, names: Sequence[str]) -> bool:
    spec = (folder / "spec").is_dir() or is_part(folder, "spec.frac")
    return spec and all(is_part(folder, name) for name in names)


def is_network(folder: Path) -> bool:
    """Whether the manifest of a folder says that it is a compiled network."""
    return _json(folder, MANIFEST).get("format") == NETWORK_FORMAT


def trained_weights(folder: Path) -> bool:
    """Whether a folder is a compiled network with weights from a training run or from `extract`."""
    manifest = _json(folder, MANIFEST)
    return is_network(folder) and ("trained" in manifest or manifest.get("column") is not None)


def expect(folder: Path, kind: StoredKind) -> None:
    """Raise UserError, with the command to use instead, if a path is a folder of another kind, or a spec."""
    if folder.suffix == ".frac" and folder.is_file():
        makes = command("fractal-dsl", "train" if kind == "training run" else "compile", str(folder))
        raise UserError(f"{folder} is a spec, not the folder of a {kind}: `{makes}` creates one")
    actual = kind_of(folder)
    if actual is not None and actual != kind:
        raise UserError(f"{folder} is not a {kind}: it is a {actual}{_instead(folder, actual)}")


def _instead(folder: Path, kind: StoredKind) -> str:
    return {
        "compiled network": f", and `{command('fractal-dsl', 'train', str(folder))}` trains it",
        "training run": f", and `{command('fractal-dsl', 'compile', str(folder))}` compiles it",
        "sweep": f", and its trials are runs: {folder / 'trial-0000'}",
    }[kind]


def owner(file: Path) -> Path | None:
    """The folder of fractal_dsl that contains a file, which therefore must not change. None if there is none."""
    return next((folder for folder in file.resolve().parents if kind_of(folder) is not None), None)


def _json(folder: Path, name: str) -> dict[str, Any]:
    try:
        data = read_json(folder, name)
    except (OSError, ValueError):
        return {}
    return cast(dict[str, Any], data) if isinstance(data, dict) else {}
