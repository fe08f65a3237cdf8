"""The one reader of a stored spec: the net of a compiled network or of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.parts import read_json
from fractal_dsl.compiled import MAX_LAYERS, Compiled
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.language.read import read
from fractal_dsl.pipeline import check, pick
from fractal_dsl.stored.kinds import Kind, kind_of
from fractal_dsl.stored.manifests import read_network_manifest, read_run_manifest

_CURABLE = ("E0106", "E0601")
"""Python code that is not allowed, and a net over the limit: options help, and nothing is broken."""


class Stored(Struct, frozen=True):
    """A folder that was opened and found whole. ``settings`` are those of its training, as plain data."""

    folder: Path
    kind: Kind
    manifest: Mapping[str, Any]
    compiled: Compiled
    settings: Mapping[str, Any]

    @property
    def column(self) -> int | None:
        """The number of the column, where the folder holds one alone, as ``extract`` wrote it."""
        return self.manifest["column"] if self.kind == "compiled network" else None

    @property
    def trained(self) -> bool:
        """Whether training made the weights, not the seed."""
        return self.kind == "training run" or "trained" in self.manifest

    def describe(self) -> str:
        """The net in a few words: ``column 3 of Digits``."""
        net = self.compiled.program.net
        fused = ", batch norms folded" * bool(self.manifest.get("fused"))
        return net if self.column is None else f"column {self.column} of {net}{fused}"

    def whole(self, command: str) -> Stored:
        """The folder itself. Raises UserError if it holds a column alone, which the command does not take."""
        if self.column is not None:
            raise UserError(
                f"{self.folder} holds one column of a net, as `extract` wrote it, and `{command}` takes whole nets: "
                "give the run, the compiled folder or the .frac file that the column is from"
            )
        return self


def open_stored(
    folder: Path,
    max_layers: int = MAX_LAYERS,
    *,
    expected: Kind | None = None,
    allow_python: bool = False,
    settings: bool = True,
) -> Stored:
    """Open a compiled network or a training run: check its files against its manifest, and compile its spec.

    ``expected`` is the only kind that will do. ``settings`` is false where the settings of training do not matter.
    Raises UserError if the folder is of another kind, a part of it is missing or altered, or its spec does not compile
    any more; FracError if it has Python code that is not allowed, or more layers than the limit.
    """
    kind = expected or kind_of(folder)
    if kind == "training run":
        manifest = read_run_manifest(folder)
        compiled = run_spec(folder, max_layers, allow_python=allow_python)
        return Stored(folder, kind, manifest, compiled, run_settings(folder) if settings else {})
    if kind == "sweep":
        trials = [path.name for path in sorted(folder.glob("trial-*")) if path.is_dir()]
        help = f"give one of its trials, such as {folder / trials[0]}" if trials else "it has no trials yet"
        raise UserError(f"{folder} is a sweep: {help}")
    if kind is None:
        raise UserError(
            f"{folder} is neither a compiled network nor a training run: give a .frac file, or a folder that "
            "`fractal-dsl compile` or `fractal-dsl train` has written"
        )
    manifest = read_network_manifest(folder)
    compiled = _compiled(folder, manifest, "manifest.json", max_layers, allow_python, settings)
    train = manifest.get("train", compiled.program.train)  # its paths start where the spec was compiled
    if not isinstance(train, dict):
        raise _damaged(folder / "manifest.json")
    compiled = replace(compiled, program=replace(compiled.program, train=cast(dict[str, Any], train)))
    return Stored(folder, kind, manifest, compiled, compiled.program.train)


def run_spec(folder: Path, max_layers: int = MAX_LAYERS, *, allow_python: bool = False) -> Compiled:
    """The net of a training run whose files need not fit its manifest. Raises as ``open_stored`` does."""
    given = _json(folder, "params.json")
    return _compiled(folder, given, "params.json", max_layers, allow_python, settings=False)


def run_settings(folder: Path) -> Mapping[str, Any]:
    """The settings of a training run as plain data. Raises UserError if they cannot be read."""
    return _json(folder, "config.json")


def _compiled(
    folder: Path, given: Mapping[str, Any], file: str, max_layers: int, allow_python: bool, settings: bool
) -> Compiled:
    """The net that a file names, with the parameters in it. The limit is the caller's: a file can be forged."""
    params, net = given.get("params"), given.get("net")
    plain = isinstance(params, dict) and all(isinstance(value, str) for value in cast(dict[str, Any], params).values())
    if not plain or not isinstance(net, str):
        raise _damaged(folder / file)
    try:
        source = read(folder / "spec.frac")
        nets = check(source, cast(dict[str, str], params), max_layers, allow_python=allow_python, settings=settings)
        return pick(nets, net)
    except FracError as error:
        if any(d.code in _CURABLE for d in error.diagnostics):
            raise
        raise UserError(f"the spec in {folder} does not compile any more:\n{error}") from None


def _json(folder: Path, name: str) -> dict[str, Any]:
    try:
        data = read_json(folder, name)
    except (OSError, ValueError):
        raise _damaged(folder / name) from None
    if not isinstance(data, dict):
        raise _damaged(folder / name)
    return cast(dict[str, Any], data)


def _damaged(path: Path) -> UserError:
    remedy = "restore it, or train again" if path.name != "manifest.json" else "compile the spec again"
    return UserError(f"{path} is damaged: {remedy}")
