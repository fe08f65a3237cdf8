"""Reads a stored spec: the net of a compiled network or of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.parts import read_json
from fractal_dsl.compiled import MAX_LAYERS, Compiled
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.language.read import read
from fractal_dsl.pipeline import check, pick
from fractal_dsl.stored.kinds import StoredKind, kind_of
from fractal_dsl.stored.manifests import (
    NetworkManifest,
    RunManifest,
    RunParameters,
    read_given,
    read_network_manifest,
    read_run_manifest,
)

_CURABLE = ("E0106", "E0601")
"""Errors that an option resolves: Python code that is not allowed, and a net over the limit."""


class Stored(Struct, frozen=True):
    """A folder that was opened and checked.

    ``spec`` names the part that is the spec's main file. ``settings`` are its training settings, as plain data.
    """

    folder: Path
    kind: StoredKind
    manifest: NetworkManifest | RunManifest
    spec: str
    compiled: Compiled
    settings: Mapping[str, Any]

    @property
    def network(self) -> NetworkManifest:
        """The manifest of a compiled network. Raises TypeError if the folder is a run."""
        if not isinstance(self.manifest, NetworkManifest):
            raise TypeError(f"{self.folder} is not a compiled network")
        return self.manifest

    @property
    def run(self) -> RunManifest:
        """The manifest of a run. Raises TypeError if the folder is a compiled network."""
        if not isinstance(self.manifest, RunManifest):
            raise TypeError(f"{self.folder} is not a training run")
        return self.manifest

    @property
    def column(self) -> int | None:
        """The number of the column that ``extract`` wrote here; None for a whole net."""
        return self.manifest.column if isinstance(self.manifest, NetworkManifest) else None

    @property
    def fused(self) -> bool:
        """Whether the batch norms of the network are folded into its layers."""
        return isinstance(self.manifest, NetworkManifest) and self.manifest.fused

    @property
    def trained(self) -> bool:
        """Whether the weights come from training, not from the seed."""
        return not isinstance(self.manifest, NetworkManifest) or self.manifest.trained is not None

    def describe(self) -> str:
        """The net in a few words: ``column 3 of Digits``."""
        net = self.compiled.program.net
        return (net if self.column is None else f"column {self.column} of {net}") + ", batch norms folded" * self.fused

    def whole(self, command: str) -> Stored:
        """The folder itself, for a command that takes whole nets.

        Raises UserError if it holds a single column, or a net whose batch norms are folded.
        """
        if self.column is not None:
            raise UserError(
                f"{self.folder} holds a single column, written by `extract`, but `{command}` takes whole nets: "
                "give the run, the compiled folder or the .frac file that the column came from"
            )
        if self.fused:
            raise UserError(
                f"{self.folder} holds a net for inference, whose batch norms are folded, but `{command}` takes nets as "
                "their specs have them: give the run or the compiled folder that it came from"
            )
        return self


def open_stored(
    folder: Path,
    max_layers: int = MAX_LAYERS,
    *,
    expected: StoredKind | None = None,
    allow_python: bool = False,
    settings: bool = True,
) -> Stored:
    """Open a compiled network or a training run: check its files against its manifest, and compile its spec.

    ``expected`` is the only accepted kind. ``settings`` is false if the training settings do not matter.
    Raises UserError if the folder is of another kind, a part of it is missing or altered, or its spec no longer
    compiles; FracError if it has Python code that is not allowed, or more layers than the limit.
    """
    kind = expected or stored_kind(folder)
    if kind == "training run":
        manifest = read_run_manifest(folder)
        given = read_given(folder)
        compiled = _compiled(folder, given, max_layers, allow_python, settings=False)
        return Stored(folder, kind, manifest, given.spec, compiled, run_settings(folder) if settings else {})
    manifest = read_network_manifest(folder)
    compiled = _compiled(folder, manifest, max_layers, allow_python, settings)
    if manifest.train is not None:  # its paths start where the spec was compiled
        compiled = replace(compiled, program=replace(compiled.program, train=manifest.train))
    return Stored(folder, kind, manifest, manifest.spec, compiled, compiled.program.train)


def stored_kind(folder: Path) -> Literal["compiled network", "training run"]:
    """Which folder with a spec this is. Raises UserError if it is a sweep or not a folder of ours."""
    kind = kind_of(folder)
    if kind == "sweep":
        trials = [path.name for path in sorted(folder.glob("trial-*")) if path.is_dir()]
        help = f"give one of its trials, such as {folder / trials[0]}" if trials else "it has no trials yet"
        raise UserError(f"{folder} is a sweep: {help}")
    if kind is None:
        raise UserError(
            f"{folder} is neither a compiled network nor a training run: give a .frac file, or a folder that "
            "`fractal-dsl compile` or `fractal-dsl train` wrote"
        )
    return kind


def run_spec(folder: Path, max_layers: int = MAX_LAYERS, *, allow_python: bool = False) -> Compiled:
    """The net of a training run, whose files are not checked against its manifest. Raises as ``open_stored`` does."""
    return _compiled(folder, read_given(folder), max_layers, allow_python, settings=False)


def run_settings(folder: Path) -> Mapping[str, Any]:
    """The settings of a training run as plain data. Raises UserError if they cannot be read."""
    path = folder / "config.json"
    try:
        data = read_json(folder, path.name)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}; restore it, or train again") from None
    if not isinstance(data, dict):
        raise UserError(f"{path} is damaged: restore it, or train again")
    return cast(dict[str, Any], data)


def _compiled(
    folder: Path, given: RunParameters | NetworkManifest, max_layers: int, allow_python: bool, settings: bool
) -> Compiled:
    """The net that a folder names, with its parameters. The limit is the caller's: a folder can be forged."""
    try:
        source = read(folder / given.spec)
        nets = check(source, given.params, max_layers, allow_python=allow_python, settings=settings)
        return pick(nets, given.net)
    except FracError as error:
        if any(d.code in _CURABLE for d in error.diagnostics):
            raise
        raise UserError(f"the spec in {folder} no longer compiles:\n{error}") from None
