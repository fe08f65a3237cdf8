"""A shelf: the folder that `deploy` writes, with exported nets and a row of figures for each.

``shelf.json``     the rows            ``shelf.html``     the table, and accuracy against latency
``column1.onnx`` … the exported nets   ``best``           a link to the best net within the budget, if one was given,
                                       and ``best.bin``   to its weights, if they have a file of their own
``failed/``        nets whose check failed
``manifest.json``  the net, the weights and the data: what raw inputs are, and the names of the classes
``data.json``      the data record of the run
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.files import remove
from fractal_dsl.base.json_faults import explained
from fractal_dsl.base.manifest import MANIFEST, sha256
from fractal_dsl.base.parts import is_part, part_folder, read_json, write_part
from fractal_dsl.base.texts import counted
from fractal_dsl.deploy.targets import TARGETS
from fractal_dsl.runs.tasks import TASKS, Metric

SHELF_FORMAT: Final = "fractal_dsl shelf"
SHELF_VERSION: Final = 2
SHELF, FAILED, BEST = "shelf.json", "failed", "best"


class ShelfRow(Struct, frozen=True, kw_only=True):
    """An exported net. ``file`` is its path in the folder, and ``parts`` are files that belong to it.

    ``difference`` is the largest one from the module's outputs, relative to the largest output of the input, and
    ``agreement`` the share of equal answers. ``score`` is the figure of the task, such as the accuracy, in the runtime.
    ``ms`` (median), ``ms_p95`` and ``ms_mean`` (over inputs, of each input's median) are for a batch of ``batch``,
    after ``warmup`` runs. ``memory`` is the largest memory of the process meanwhile, in bytes. ``seconds`` is the time
    of the export. ``largest`` is the largest batch, None for any. ``answers`` are the nets in an anytime file, in
    order.
    """

    net: str
    target: str
    precision: str
    file: str
    parts: list[str]
    verified: bool
    difference: float | None
    agreement: float | None
    score: float | None
    ms: float
    ms_p95: float
    ms_mean: float
    repeats: int
    warmup: int
    batch: int
    threads: int
    confidence: float | None
    bytes: int
    memory: int
    seconds: float
    layout: str
    largest: int | None
    sha256: str
    answers: list[str] = []

    @property
    def key(self) -> tuple[str, str, str]:
        """The key of the row."""
        return self.net, self.target, self.precision

    @property
    def label(self) -> str:
        """The net and its format for people: ``column1 by onnx, int8``."""
        return f"{self.net} by {self.target}" + (f", {self.precision}" if self.precision != "float32" else "")


class ShelfManifest(Struct, frozen=True, kw_only=True):
    """``manifest.json``. ``weights_sha256`` tells whether rows are of the same net. ``answers`` are every
    column, from the shallowest, and the whole net. ``batch``, ``threads`` and ``confidence`` are those of the latest
    measurements.
    ``images`` counts the examples by use. ``takes`` and ``gives`` are the inputs and outputs of each file by name, and
    ``vocabularies`` counts the tokens that the net knows of each input. For several of them, ``by_input`` and
    ``by_output`` describe the data of each, and ``inputs``, ``classes`` and so on those of the first."""

    format: str
    format_version: int
    net: str
    source: str
    task: str
    weights_sha256: str
    takes: dict[str, str]
    gives: dict[str, str]
    answers: list[str]
    batch: int = 1
    threads: int = 1
    confidence: float
    dataset: str | None = None
    classes: list[str] | None = None
    inputs: dict[str, Any] | None = None
    decoding: dict[str, Any] | None = None
    normalisation: dict[str, list[float]] | None = None
    targets: dict[str, Any] | None = None
    images: dict[str, int] | None = None
    by_input: dict[str, dict[str, Any]] = {}
    by_output: dict[str, dict[str, Any]] = {}
    vocabularies: dict[str, int | None] = {}
    versions: dict[str, str] = {}


class Shelf:
    """The rows in a folder, which are written when they change."""

    def __init__(self, folder: Path, manifest: ShelfManifest, rows: Sequence[ShelfRow]) -> None:
        self.folder, self.manifest = folder, manifest
        self.rows = sorted(rows, key=self._place)

    @property
    def metric(self) -> Metric:
        """The figure of the task."""
        return TASKS[cast(Any, self.manifest.task)].score

    @classmethod
    def read(cls, folder: Path) -> Shelf:
        """Read a folder. Raises UserError if it is not a shelf, or is damaged."""
        try:
            data = read_json(folder, MANIFEST)
            if not isinstance(data, dict) or cast(dict[str, Any], data).get("format") != SHELF_FORMAT:
                raise UserError(f"{folder} is not a shelf: `fractal-dsl deploy` writes one")
            version = cast(dict[str, Any], data).get("format_version")
            if version != SHELF_VERSION or cast(dict[str, Any], data).get("task") not in TASKS:
                raise UserError(f"{folder} was written by another version of fractal_dsl: deploy into another folder")
            manifest = msgspec.convert(data, ShelfManifest)
            key = TASKS[cast(Any, manifest.task)].score.key
            rows = [_row(row, key) for row in read_json(folder, SHELF)] if is_part(folder, SHELF) else []
        except FileNotFoundError:
            raise UserError(f"{folder} is not a shelf: it has no {MANIFEST}") from None
        except msgspec.ValidationError as error:
            raise UserError(f"{folder / SHELF} is damaged ({explained(error)}): deploy into another folder") from None
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{folder / SHELF} is damaged ({error}): deploy into another folder") from None
        return cls(folder, manifest, rows)

    def write(self) -> None:
        """Write the manifest and the rows."""
        write_part(self.folder, MANIFEST, json.dumps(msgspec.to_builtins(self.manifest), indent=2) + "\n")
        rows = [self.as_json(row) for row in self.rows]
        write_part(self.folder, SHELF, json.dumps(rows, indent=2) + "\n")

    def as_json(self, row: ShelfRow) -> dict[str, Any]:
        """A row under the names of ``shelf.json``: the score has the name of its figure."""
        plain: dict[str, Any] = msgspec.to_builtins(row) | {"note": self.note(row)}
        return {self.metric.key if name == "score" else name: value for name, value in plain.items()}

    def put(self, row: ShelfRow) -> None:
        """Add a row, in place of one of the same net and format, and write the file."""
        self.rows = sorted([r for r in self.rows if r.key != row.key] + [row], key=self._place)
        self.write()

    def _place(self, row: ShelfRow) -> tuple[int, str, int, str]:
        order = [*self.manifest.answers, "anytime"]
        target = [*TARGETS].index(row.target) if row.target in TARGETS else len(TARGETS)
        return target, row.precision, order.index(row.net) if row.net in order else len(order), row.net

    def note(self, row: ShelfRow) -> str:
        """What to know about a row besides its figures: a failed check, other conditions, a slow int8 net."""
        m = self.manifest
        if not row.verified:
            return "check failed"
        if not self.comparable(row):
            other = [f"batches of {row.batch}"] * (row.batch != m.batch)
            other += [counted(row.threads, "thread")] * (row.threads != m.threads)
            if row.confidence not in (None, m.confidence):
                other.append(f"confidence {row.confidence:g}")
            return f"measured with {', '.join(other)}"
        plain = self.row(row.net, row.target, "float32")
        if row.precision == "int8" and plain and plain.verified and self.comparable(plain) and row.ms >= plain.ms:
            return "int8 is slower than float32 here"
        return f"asks {', '.join(row.answers)}" if row.answers not in ([], m.answers) else ""

    def comparable(self, row: ShelfRow) -> bool:
        """Whether a row was measured as the latest ones were: with the same batch, threads and confidence."""
        m = self.manifest
        return (row.batch, row.threads) == (m.batch, m.threads) and row.confidence in (None, m.confidence)

    def measured(self) -> list[ShelfRow]:
        """The verified rows whose times can be compared."""
        return [row for row in self.rows if row.verified and self.comparable(row)]

    def row(self, net: str, target: str, precision: str) -> ShelfRow | None:
        """The row of a net in a format."""
        return next((r for r in self.rows if r.key == (net, target, precision)), None)

    def intact(self, row: ShelfRow) -> bool:
        """Whether the files of a verified row are there as they were checked."""
        there = all(is_part(self.folder, part) for part in (row.file, *row.parts))
        return row.verified and there and digest(self.folder, (row.file, *row.parts)) == row.sha256

    def merit(self, row: ShelfRow) -> float:
        """How good a row's answers are. Larger is better."""
        return float("-inf") if row.score is None else self.metric.merit(row.score)

    def front(self) -> list[ShelfRow]:
        """The comparable rows that no faster one matches, from the fastest to the best."""
        front: list[ShelfRow] = []
        for row in sorted(self.measured(), key=lambda r: (r.ms_mean, -self.merit(r))):
            if not front or self.merit(row) > self.merit(front[-1]):
                front.append(row)
        return front

    def link_best(self, budget: float) -> ShelfRow:
        """Link the best verified net within a budget of milliseconds as ``best``. Raises UserError if there is none."""
        measured = self.measured()
        within = [row for row in measured if row.ms <= budget]
        for old in self.folder.glob(f"{BEST}*"):
            if old.is_symlink():
                old.unlink()
        if not within:
            nearest = min(measured, key=lambda row: row.ms, default=None)
            none = "measured" if any(row.verified for row in self.rows) else "verified"
            also = f": the nearest is {nearest.label}, {nearest.ms:.3g} ms" if nearest else f", because none is {none}"
            conditions = f" for batches of {self.manifest.batch}" * (self.manifest.batch > 1)
            raise UserError(f"no net answers within {budget:g} ms{conditions}{also}")
        best = max(within, key=lambda row: (self.merit(row), -row.ms))
        links = {BEST: best.file} | {f"{BEST}{Path(part).suffix}": part for part in best.parts}
        for name, file in links.items():  # OpenVINO looks for the weights of `best` in `best.bin`
            try:
                (self.folder / name).symlink_to(file)
            except OSError as error:
                raise UserError(f"cannot write {self.folder / name}: {error.strerror}") from None
        return best


def digest(folder: Path, names: Sequence[str]) -> str:
    """The hashes of files, as one text."""
    return "+".join(sha256(folder / name) for name in names)


def move_files(files: Sequence[Path], folder: Path, *, failed: bool) -> list[str]:
    """Move files into a shelf, or into its folder for failed ones. Return their names there."""
    place = part_folder(folder, FAILED) if failed else folder
    names: list[str] = []
    for file in files:
        for other in (folder / file.name, folder / FAILED / file.name):
            if os.path.lexists(other):
                remove(other)
        try:
            file.replace(place / file.name)
        except OSError as error:
            raise UserError(f"cannot write {place / file.name}: {error.strerror}") from None
        names.append(f"{FAILED}/{file.name}" if failed else file.name)
    return names


def _row(data: Mapping[str, Any], key: str) -> ShelfRow:
    return msgspec.convert({("score" if name == key else name): value for name, value in data.items()}, ShelfRow)
