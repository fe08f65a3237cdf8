"""What a report is made of: a run's figures and settings as plain data, without its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from fractal_dsl.base.errors import UserError

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class RunFiles:
    """A run that may be unfinished. ``result`` is None as long as nothing was measured on the test images."""

    folder: Path
    given: Figures
    config: Figures
    epochs: list[dict[str, Any]]
    result: Figures | None
    plain: list[dict[str, Any]]
    paths: Figures | None
    status: str
    versions: Figures

    @classmethod
    def read(cls, folder: Path) -> RunFiles:
        """Raises UserError if the folder is no run, or a file of it is damaged."""
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}")
        if not all((folder / name).is_file() for name in ("params.json", "config.json", "metrics.jsonl")):
            raise UserError(f"{folder} is no training run: it has no params.json, config.json or metrics.jsonl")
        manifest = _json(folder / "manifest.json") or {}
        result = _json(folder / "result.json")
        return cls(
            folder,
            _json(folder / "params.json") or {},
            _json(folder / "config.json") or {},
            _lines(folder / "metrics.jsonl"),
            result,
            _lines(folder / "plain" / "metrics.jsonl"),
            _json(folder / "paths.json"),
            result["status"] if result else manifest.get("status", "running"),
            manifest.get("versions", {}),
        )

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def title(self) -> str:
        """What was trained on what."""
        return f"{self.given['net']} on {self.config['dataset']['name']}"

    def settings(self) -> dict[str, str]:
        """Parameters and settings under dotted keys, as texts; those that are not set are left out."""
        return dict(_flat({"parameters": self.given["params"], **self.config}, ""))

    def chosen(self) -> str:
        """Which weights are the best, and what they were chosen by."""
        if self.result is None:
            return "no weights are chosen yet"
        epoch, images = self.result["best_epoch"], self.result["validation_images"]
        kind = "running average of the weights" if self.config["ema"] else "weights"
        if not epoch:
            return f"{kind} that the run stopped with: no epoch was finished"
        if not images:
            return f"{kind} of epoch {epoch}, the last: there were no validation images to choose by"
        return (
            f"{kind} of epoch {epoch}, chosen by accuracy, then loss, on {images:,} validation images; "
            "the test images had no part in it"
        )


def _flat(data: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in data.items():
        if isinstance(value, Mapping):
            rows += _flat(cast(Mapping[str, Any], value), f"{prefix}{key}.")
        elif value is not None:
            rows.append((prefix + key, value if isinstance(value, str) else json.dumps(value)))
    return rows


def _json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
