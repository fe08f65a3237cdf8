"""The manifests of compiled networks and of training runs, and the parts that they require."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, cast

import msgspec

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import command
from fractal_dsl.base.manifest import Count, Manifest, Seed, read_manifest, require
from fractal_dsl.base.parts import is_part, read_json
from fractal_dsl.stored.kinds import NETWORK_FORMAT, RUN_FORMAT, expect

NETWORK_VERSION: Final = 3
RUN_VERSION: Final = 2
_FIRST_SPEC: Final = "spec.frac"
"""The part that is the spec's main file in folders of format 1, whose manifests do not name it."""


class NetworkManifest(Manifest, frozen=True, kw_only=True):
    """The manifest of a compiled network. ``spec`` names the part that is the spec's main file.

    ``train`` is the train block, whose paths start where the spec was compiled, or the settings of the run that the
    weights come from. ``trained`` says which weights a whole
    net has. A network from a run has what the run recorded about its data: ``dataset``, ``classes``, ``inputs`` (type,
    shape and range of raw inputs), ``decoding`` (how image files become inputs, if they can) and ``normalisation``, by
    channel, and the ``task`` with its ``targets``. For several inputs or outputs, ``by_input`` and ``by_output``
    describe each by name, and the other fields the first. From format 3 on, the network normalises its inputs itself,
    and outputs of regression are in the targets' own unit.
    """

    net: str
    params: dict[str, str]
    train: dict[str, Any] | None = None
    column: Annotated[int, msgspec.Meta(ge=1, le=2**31)] | None
    fused: bool = False
    input: str
    output: str
    seed: Seed
    step: Count = 0
    graph_sha256: str
    spec: str = _FIRST_SPEC
    classes: list[str] | None = None
    dataset: str | None = None
    inputs: dict[str, Any] | None = None
    decoding: dict[str, Any] | None = None
    normalisation: dict[str, list[float]] | None = None
    task: str | None = None
    targets: dict[str, Any] | None = None
    by_input: dict[str, dict[str, Any]] | None = None
    by_output: dict[str, dict[str, Any]] | None = None
    trained: dict[str, str] | None = None

    def normalised_channels(self, dtypes: Mapping[str, str]) -> dict[str, int]:
        """The number of means by which the network normalises each of its inputs, whose types are given by name. Tokens
        are not normalised."""
        if self.format_version < 3:
            return {}
        moments = {name: one.get("mean") for name, one in (self.by_input or {}).items()}
        moments = moments or {name: (self.normalisation or {}).get("mean") for name in [*dtypes][:1]}
        return {name: len(mean) for name, mean in _lists(moments) if dtypes.get(name) == "f32"}

    def restored_channels(self, outputs: Sequence[str]) -> dict[str, int]:
        """The number of deviations by which the network multiplies each of its ``outputs`` that has a unit."""
        by_output = self.by_output or {outputs[0]: {"targets": self.targets}}
        targets: dict[str, Any] = {name: one.get("targets") for name, one in by_output.items()}
        means = {name: cast(Any, one).get("mean") for name, one in targets.items() if isinstance(one, dict)}
        return {name: len(mean) for name, mean in _lists(means) if mean}


def _lists(values: Mapping[str, Any]) -> list[tuple[str, list[Any]]]:
    return [(name, cast(list[Any], value)) for name, value in values.items() if isinstance(value, list)]


class RunManifest(Manifest, frozen=True, kw_only=True):
    """The manifest of a run."""

    status: str
    graph_sha256: str


class RunParameters(msgspec.Struct, frozen=True):
    """``params.json``: a run's net and parameters, and the part of the folder that is the spec's main file."""

    net: str
    params: dict[str, str]
    spec: str = _FIRST_SPEC


def read_network_manifest(folder: Path) -> NetworkManifest:
    """The manifest of a compiled network. Raises UserError if a file is missing or altered."""
    expect(folder, "compiled network")
    remedy = "compile the spec again"
    manifest = read_manifest(
        folder,
        "compiled network",
        NetworkManifest,
        format=NETWORK_FORMAT,
        version=NETWORK_VERSION,
        parts=("model.py", "weights.safetensors"),
        remedy=remedy,
    )
    require(folder, manifest, manifest.spec, remedy)
    return manifest


def read_run_manifest(folder: Path) -> RunManifest:
    """The manifest of a run. Raises UserError if a file is missing or altered."""
    expect(folder, "training run")
    resume = command("fractal-dsl", "train", "--resume", str(folder))
    remedy = f"restore the file, resume with `{resume}` if the run was killed, or train again"
    manifest = read_manifest(
        folder,
        "training run",
        RunManifest,
        format=RUN_FORMAT,
        version=RUN_VERSION,
        parts=("params.json", "config.json", "metrics.jsonl", "last.safetensors", "best.safetensors"),
        remedy=remedy,
    )
    require(folder, manifest, read_given(folder).spec, remedy)
    return manifest


def read_given(folder: Path) -> RunParameters:
    """The net and the parameters of a run, finished or not. Raises UserError if they are missing or damaged."""
    try:
        given = msgspec.convert(read_json(folder, "params.json"), RunParameters)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{folder / 'params.json'} is damaged: {error}; restore it, or train again") from None
    if not is_part(folder, given.spec):
        raise UserError(f"{folder / given.spec}, the spec, is missing, or is not a file of the run itself: restore it")
    return given
