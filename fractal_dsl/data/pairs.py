"""Interprets a folder of images and masks: which folders are parts, and which mask belongs to which image."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from fractal_dsl.base.errors import UserError
from fractal_dsl.data.tree import BESIDE, PART_OF, PARTS, listed, plain, walked

_IMAGES, _MASKS = "images", "masks"


@dataclass(frozen=True)
class Pairs:
    """The images of one part and their masks. ``files`` are paths from ``images`` and from ``masks``.

    ``skipped`` counts the skipped names: hidden ones, files beside the images, and masks without an image.
    """

    images: Path
    masks: Path
    files: Sequence[tuple[str, str]]
    skipped: Counter[str] = field(default_factory=Counter[str])

    @property
    def roots(self) -> tuple[Path, Path]:
        """The folders of images and of masks."""
        return self.images, self.masks


def read_pairs(root: Path) -> dict[str, Pairs] | None:
    """The parts by name (``train``, perhaps ``validation`` and ``test``); None if no folder has images and masks.

    The layouts are root/images and root/masks; root/PART/images and root/PART/masks; and root/images/PART and
    root/masks/PART. Raises UserError if an image has no mask or two, or the meaning of the folders is unclear.
    """
    folders = listed(root)[0]
    if (both := _both(root)) is not None:
        images, masks = both
        inner = {name: part for name in listed(images)[0] if (part := PART_OF.get(plain(name)))}
        if inner and len(inner) == len(listed(images)[0]) and not listed(images)[1]:
            return _parts(root, {name: (images / name, masks / name) for name in inner}, inner)
        return {"train": _matched(images, masks)}
    named = {name: part for name in folders if (part := PART_OF.get(plain(name)))}
    pairs = {name: both for name in named if (both := _both(root / name)) is not None}
    if not pairs:
        return None
    if lacking := [name for name in named if name not in pairs]:
        raise UserError(
            f"{root / lacking[0]} must have the folders `{_IMAGES}` and `{_MASKS}`, as {next(iter(pairs))} has"
        )
    return _parts(root, pairs, named)


def _both(folder: Path) -> tuple[Path, Path] | None:
    """The folders of images and of masks in a folder, in any case."""
    by_name = {name.lower(): folder / name for name in listed(folder)[0]}
    return (by_name[_IMAGES], by_name[_MASKS]) if {_IMAGES, _MASKS} <= by_name.keys() else None


def _parts(root: Path, folders: dict[str, tuple[Path, Path]], named: dict[str, str]) -> dict[str, Pairs]:
    if twice := next((part for part in PARTS if [*named.values()].count(part) > 1), None):
        both = " and ".join(f"`{name}`" for name, part in named.items() if part == twice)
        raise UserError(f"{root} has {both}, which both mean {twice}: rename or move one of them")
    if "train" not in named.values():
        raise UserError(f"{root} has `{next(iter(named))}`, but no part to train on: name it `train`")
    return {named[name]: _matched(*pair) for name, pair in folders.items()}


def _matched(images: Path, masks: Path) -> Pairs:
    skipped = Counter[str]()
    by_stem, of_masks = _by_stem(images, skipped), _by_stem(masks, skipped)
    if not by_stem:
        raise UserError(f"{images} contains no images")
    if lacking := next((stem for stem in by_stem if stem not in of_masks), None):
        raise UserError(f"{images / by_stem[lacking]} has no mask: there is no file {masks / lacking}.*")
    skipped["masks without image"] = len(of_masks.keys() - by_stem.keys())
    return Pairs(images, masks, [(name, of_masks[stem]) for stem, name in by_stem.items()], +skipped)


def _by_stem(folder: Path, skipped: Counter[str]) -> dict[str, str]:
    """The files below a folder by their relative path without suffix, sorted. Raises UserError if two share one."""
    names: dict[str, str] = {}
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    for name, _ in walked(folder, skipped):
        path = PurePosixPath(name)
        if path.suffix.lower() in BESIDE:
            skipped["beside images"] += 1
            continue
        stem = unicodedata.normalize("NFC", str(path.with_suffix("")))
        if stem in names:
            raise UserError(
                f"{folder / names[stem]} and {folder / name} have the same name: rename or remove one of them"
            )
        names[stem] = name
    return dict(sorted(names.items()))
