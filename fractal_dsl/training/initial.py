"""Initial weights that come from another run, a compiled folder or a safetensors file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from rich.text import Text
from torch import Tensor

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.manifest import sha256
from fractal_dsl.base.texts import shortened
from fractal_dsl.compiled import Compiled
from fractal_dsl.config import TrainConfig
from fractal_dsl.runtime.artifact import read_weights
from fractal_dsl.runtime.build import build
from fractal_dsl.runtime.fit import tensors_of
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.stored.kinds import kind_of
from fractal_dsl.stored.manifests import read_network_manifest, read_run_manifest


@dataclass(frozen=True)
class InitialOrigin:
    """The source of initial weights, and the parameters and buffers that fitted, by name, with their shapes.

    ``taken`` came from the source, ``new`` are those that it lacks or has in another shape, ``left_over`` are those of
    the source that were not used.
    """

    source: Path
    hashes: dict[str, str]
    taken: dict[str, list[int]]
    new: dict[str, list[int]]
    left_over: dict[str, list[int]]

    def record(self) -> dict[str, Any]:
        """The facts that a run keeps."""
        parts = {"taken": self.taken, "new": self.new, "left_over": self.left_over}
        return {"source": str(self.source), "sha256": self.hashes, **parts}

    def table(self) -> Table:
        """The same for people."""
        table = Table(title=Text(f"weights from {self.source}"), title_justify="left")
        for name in ("", "tensors", "numbers"):
            table.add_column(name, justify="right" if name else "left")
        table.add_column("which", overflow="fold")
        rows = {"taken": self.taken, "new": self.new, "left over": self.left_over}
        for kind, shapes in rows.items():
            texts = [f"{name} {shape}" if kind != "taken" else name for name, shape in shapes.items()]
            numbers = sum(torch.Size(shape).numel() for shape in shapes.values())
            table.add_row(kind, f"{len(shapes):,}", f"{numbers:,}", Text(shortened(texts)))
        return table


def initial_weights(
    compiled: Compiled, config: TrainConfig, start: FractalModule | None
) -> tuple[dict[str, Tensor] | None, InitialOrigin | None]:
    """The weights that a run starts from, unless the seed draws them, and their origin if the settings name it.

    A run counts its plans from 0.
    """
    drawn = build(compiled, config.seed)
    given = tensors_of(drawn if start is None else start)
    if config.init_from is not None:
        drawn.load_state_dict(given)
        origin = take_weights(drawn, Path(config.init_from))
        return tensors_of(drawn), origin
    same = start is None or all(torch.equal(value, given[name]) for name, value in tensors_of(drawn).items())
    return (None if same else given), None


def take_weights(model: FractalModule, source: Path) -> InitialOrigin:
    """Copy to a model the parameters and buffers that a source has under the same names and in the same shapes.

    ``source`` is the folder of a run, whose best weights count, a compiled folder, or a safetensors file. Raises
    UserError if it is none of these or damaged, or if no parameter fits.
    """
    files = _files(source)
    given, own = read_weights(files), tensors_of(model)
    taken = [name for name, value in own.items() if name in given and _alike(value, given[name])]
    if not {*taken} & {name for name, _ in model.named_parameters()}:
        raise UserError(
            f"no weights in {source} fit net {model.join_graph.net} by name and shape. It has "
            f"{_listed(given.items())}; the net has {_listed(own.items())}"
        )
    with torch.no_grad():
        for name in taken:
            own[name].copy_(given[name])
    return InitialOrigin(
        source,
        {file.name: sha256(file) for file in files},
        {name: list(own[name].shape) for name in taken},
        {name: list(value.shape) for name, value in own.items() if name not in taken},
        {name: list(value.shape) for name, value in given.items() if name not in taken},
    )


def _files(source: Path) -> list[Path]:
    """The files with the weights of a source, which are checked against its manifest if it has one."""
    if source.is_file() and source.suffix == ".safetensors":
        return [source]
    kind = kind_of(source) if source.is_dir() else None
    if kind == "training run":
        read_run_manifest(source)
        return [source / "best.safetensors"]
    if kind == "compiled network":
        parts = read_network_manifest(source).files
        return [source / name for name in ("weights.safetensors", "columns.safetensors") if name in parts]
    if not source.exists():
        raise UserError(f"init_from: there is no {source}")
    hint = f", and its trials are runs, such as {source / 'trial-0000'}" if kind == "sweep" else ""
    fault = f" is a {kind}{hint}" if kind else ""
    raise UserError(
        f"init_from: {source}{fault or ' has no weights that can be read'}. Give a run, a compiled folder, or a "
        ".safetensors file"
    )


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.is_floating_point() == b.is_floating_point()


def _listed(tensors: Iterable[tuple[str, Tensor]]) -> str:
    return shortened([f"{name} {list(value.shape)}" for name, value in tensors], 4) or "nothing"
