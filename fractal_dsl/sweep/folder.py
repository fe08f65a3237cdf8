"""The folder of a sweep, and its definition."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import command
from fractal_dsl.base.lock import open_to_append
from fractal_dsl.base.parts import is_part, open_part, part_folder, read_json, read_part, write_new_parts, write_part
from fractal_dsl.config.losses import TaskName
from fractal_dsl.runs.tasks import TASKS, Metric, metric_of
from fractal_dsl.stored.kinds import SWEEP_FILE, SWEEP_FORMAT
from fractal_dsl.sweep.space import Axis, axis

SWEEP_VERSION = 2
JOURNAL = "journal.log"

Sampler = Literal["grid", "random", "tpe"]
Size = Literal["macs", "params"]


@dataclass(frozen=True)
class Sweep:
    """The definition of a sweep: everything that its result depends on.

    ``params`` and ``settings`` are fixed. ``objective`` is a validation figure of ``task`` at the best
    epoch, and ``minimize`` a
    size of the net to keep small as well. From epoch ``prune`` on, trials below the median are stopped. ``trials`` is
    the total number. ``spec`` is the name of the spec's main file.
    """

    net: str
    space: tuple[Axis, ...]
    params: Mapping[str, str]
    settings: Mapping[str, str]
    max_layers: int
    objective: str
    minimize: Size | None
    sampler: Sampler
    seed: int
    prune: int | None
    trials: int
    spec: str = "spec.frac"
    task: TaskName = "classification"

    @property
    def aim(self) -> Metric:
        """The objective as a figure."""
        return metric_of(self.task, self.objective)

    def json(self) -> dict[str, Any]:
        """The sweep as plain data, with axes as they were given."""
        space = [{"kind": a.kind, "name": a.name, "given": a.given, "type": a.type} for a in self.space]
        return {"format": SWEEP_FORMAT, "format_version": SWEEP_VERSION, **asdict(self), "space": space}

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> Sweep:
        """The sweep that ``json`` wrote. Raises KeyError, TypeError, ValueError or UserError for other data."""
        axes = msgspec.convert(data["space"], list[dict[str, str | None]])
        sweep = replace(msgspec.convert({**data, "space": []}, cls), space=tuple(axis(**cast(Any, a)) for a in axes))
        if sweep.objective not in ("loss", *(metric.key for metric in TASKS[sweep.task].metrics)):
            raise ValueError(f"{sweep.task} has no figure {sweep.objective}")
        return sweep


class SweepFolder:
    """The folder of a sweep."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        """Whether it holds a sweep."""
        return is_part(self.path, SWEEP_FILE)

    def spec(self, sweep: Sweep) -> Path:
        """The main file of the sweep's spec; what it imports keeps its places beside it."""
        return self.path / "spec" / sweep.spec

    def trial(self, number: int) -> Path:
        """The run folder of a trial. Raises UserError if it is a link."""
        folder = self.path / f"trial-{number:04}"
        if folder.is_symlink():
            raise UserError(f"{folder} is a link, and links in a sweep are not followed: put the run itself there")
        return folder

    def log(self, number: int) -> Path:
        """The file with the output of a trial's process."""
        return self.path / f"trial-{number:04}.log"

    def create(self, sweep: Sweep, texts: Mapping[str, str]) -> None:
        """Begin a sweep. Raises UserError if the folder is not empty."""
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UserError(f"{self.path} exists and is not a sweep: choose another folder with --out")
        write_new_parts(part_folder(self.path, "spec"), texts)
        self.write(sweep)

    def write(self, sweep: Sweep) -> None:
        """Write the definition of the sweep."""
        write_part(self.path, SWEEP_FILE, json.dumps(sweep.json(), indent=2) + "\n")

    def read(self) -> Sweep:
        """The sweep in the folder. Raises UserError if there is none, or it is of another version."""
        if not self.path.is_dir():
            raise UserError(f"there is no folder {self.path}")
        if not self.exists():
            raise UserError(f"{self.path} is not a sweep: it has no sweep.json")
        file = self.path / SWEEP_FILE
        try:
            data: dict[str, Any] = read_json(self.path, SWEEP_FILE)
            version = data["format_version"]
            if data["format"] == SWEEP_FORMAT and version not in range(1, SWEEP_VERSION + 1):
                newest = f"this version reads formats up to {SWEEP_VERSION}"
                raise UserError(f"{self.path} has format {version}, but {newest}")
            sweep = Sweep.of_json(data)
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{file} is damaged: restore it, or sweep again in another folder") from None
        if not is_part(self.path, f"spec/{sweep.spec}"):
            raise UserError(f"{self.spec(sweep)} is missing, or is not a file of the sweep itself: restore it")
        return sweep

    def check_same(self, sweep: Sweep, texts: Mapping[str, str]) -> None:
        """Raise UserError if the folder has a different sweep. Only the number of trials may differ."""
        before = replace(self.read(), trials=sweep.trials).json()
        wanted = json.loads(json.dumps(sweep.json()))
        differ = [key for key in wanted if before[key] != wanted[key]]
        for name, text in texts.items():
            try:
                same = read_part(self.path, f"spec/{name}") == text
            except (OSError, ValueError):
                same = False
            differ += [name] * (not same)
        if differ:
            raise UserError(
                f"{self.path} has a sweep with another {', '.join(differ)}: resume it with "
                f"`{command('fractal-dsl', 'sweep', str(self.path))}`, or choose another folder with --out"
            )


def whole_lines(journal: Path) -> None:
    """Remove an incomplete last line of a journal, which a power failure may have left."""
    with open_to_append(journal) as file:
        file.seek(0)
        if (data := file.read()) and not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)


def next_free(net: str) -> Path:
    """``sweeps/NET-1``, or the next free number."""
    number = 1
    while (path := Path("sweeps") / f"{net.lower()}-{number}").exists():
        number += 1
    return path


def lines_of(path: Path) -> Iterable[dict[str, Any]]:
    """The complete lines of a ``metrics.jsonl`` that may still grow. Raises UserError for a line that is not JSON."""
    try:
        with open_part(path.parent, path.name) as file:
            return [cast(dict[str, Any], json.loads(line)) for line in file]
    except OSError:
        return []
    except (ValueError, RecursionError):
        raise UserError(f"{path} is damaged: remove the trial's folder, and resume the sweep") from None
