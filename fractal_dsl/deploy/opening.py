"""Begins a shelf in a folder, or goes on with the one that is there."""

from __future__ import annotations

from pathlib import Path

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.lock import LOCK
from fractal_dsl.base.manifest import MANIFEST
from fractal_dsl.base.parts import part_folder
from fractal_dsl.base.version import __version__
from fractal_dsl.data import vocabularies_of
from fractal_dsl.deploy.nets import answers_of, ends_of, task_of
from fractal_dsl.deploy.origin import Origin
from fractal_dsl.deploy.shelf import SHELF_FORMAT, SHELF_VERSION, Shelf, ShelfManifest
from fractal_dsl.evaluation.evaluate import weights_sha256


def begun(folder: Path, origin: Origin, *, batch: int, threads: int, confidence: float) -> Shelf:
    """The shelf in a folder, which is created if needed, for measurements under these conditions.

    Raises UserError if the folder holds something else.
    """
    facts = {
        name: value
        for name, value in origin.facts.items()
        if name in ShelfManifest.__struct_fields__ and name != "task"
    }
    trained, model = origin.trained, origin.model
    ends = ends_of(model)
    manifest = ShelfManifest(
        format=SHELF_FORMAT,
        format_version=SHELF_VERSION,
        net=origin.compiled.program.net,
        source=origin.folder.resolve().name,
        task=task_of(origin),
        weights_sha256=weights_sha256(model),
        takes={name: str(one) for name, one in ends.inputs.items()},
        gives={name: str(one) for name, one in ends.outputs.items()},
        answers=answers_of(model.join_graph),
        batch=batch,
        threads=threads,
        confidence=confidence,
        images=None if trained is None else trained.examples,
        vocabularies=dict(zip(ends.inputs, vocabularies_of(model.join_graph).values(), strict=True)),
        versions={"fractal_dsl": __version__},
        **facts,
    )
    part_folder(folder, "")
    before = shelf_at(folder, origin)
    return Shelf(folder, manifest, [] if before is None else before.rows)


def shelf_at(folder: Path, origin: Origin) -> Shelf | None:
    """The shelf in a folder, None if there is none yet. Raises UserError for other nets and for other folders."""
    if not (folder / MANIFEST).exists():
        if folder.is_dir() and any(path.name not in (LOCK, "hub") for path in folder.iterdir()):
            raise UserError(f"{folder} exists and is not a shelf: choose another folder with -o")
        return None
    shelf = Shelf.read(folder)
    if shelf.manifest.weights_sha256 != weights_sha256(origin.model):
        raise UserError(f"{folder} has nets of other weights, of {shelf.manifest.source}: choose another folder")
    return shelf
