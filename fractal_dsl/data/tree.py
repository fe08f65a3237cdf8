"""Interprets a folder of images: which folders are parts, which are classes, and which files are not images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.texts import counted
from fractal_dsl.data.decode import SUFFIXES

PARTS = {
    "train": ("train", "training", "training_set", "train_set", "trainset"),
    "validation": ("val", "valid", "validation", "validation_set", "val_set", "valid_set", "dev", "dev_set"),
    "test": ("test", "testing", "test_set", "testset"),
}
PART_OF = {name: part for part, names in PARTS.items() for name in names}
_SYSTEM = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "icon\r", "$recycle.bin"}
BESIDE = frozenset(".txt .csv .tsv .json .jsonl .xml .yaml .yml .md .html .pdf .mat .npy .npz .pkl .log .zip".split())
"""The suffixes of files that people keep beside images."""


@dataclass(frozen=True)
class Tree:
    """The images of one part. ``files`` are paths from ``root``, each with the position of its class in ``names``.

    ``skipped`` counts the skipped names: hidden ones, files beside the images, and images outside of classes.
    """

    root: Path
    names: tuple[str, ...]
    files: Sequence[tuple[str, int]]
    skipped: Counter[str] = field(default_factory=Counter[str])


def read_parts(root: Path, nested: bool) -> dict[str, Tree]:
    """The parts of a data set by name (``train``, perhaps ``validation`` and ``test``), with the same classes.

    Folders are parts if they have the name of a part and contain folders of images. Raises UserError if there are no
    classes, a class is empty, or the meaning of the folders is unclear.
    """
    folders, _, _ = listed(root)
    named = {name: part for name in folders if (part := PART_OF.get(plain(name)))}
    parts = {name: part for name, part in named.items() if _holds_folders(root / name)}
    if not parts:
        if named and len(named) == len(folders):
            raise UserError(_no_part(root / next(iter(named))))
        return {"train": read_tree(root, nested)}
    if flat := [name for name in named if name not in parts]:
        raise UserError(f"{_no_part(root / flat[0])}. If its images have no classes, move the folder out of {root}")
    strangers = [name for name in folders if name not in parts and _has_images(root / name)]
    if strangers:
        raise UserError(
            f"{root} has the part `{next(iter(parts))}` and, beside it, images in `{strangers[0]}`: move the parts to "
            "their own folder, or rename the one that is not a part"
        )
    if twice := next((part for part in PARTS if [*parts.values()].count(part) > 1), None):
        both = " and ".join(f"`{name}`" for name, part in parts.items() if part == twice)
        raise UserError(f"{root} has {both}, which both mean {twice}: rename or move one of them")
    trees = {part: read_tree(root / name, nested) for name, part in parts.items()}
    if "train" not in trees:
        raise UserError(f"{root} has `{next(iter(parts))}`, but no part to train on: name it `train`")
    for tree in trees.values():
        check_same(trees["train"], tree)
    return trees


def _no_part(folder: Path) -> str:
    return f"{folder} has the name of a part, so it must have a folder of images for each class: {folder}/CLASS"


def plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")


def is_skipped(name: str) -> bool:
    """Whether a name is skipped: it is hidden, or belongs to a file manager."""
    return name.startswith(".") or name.lower() in _SYSTEM


def listed(folder: Path) -> tuple[list[str], list[str], int]:
    """The folders and files in a folder, sorted, and the number of skipped names."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        raise UserError(f"there is no folder {folder.absolute()}") from None
    except OSError as error:
        raise UserError(f"cannot read the folder {folder}: {error.strerror}") from None
    seen = [entry for entry in entries if not is_skipped(entry.name)]
    folders = [entry.name for entry in seen if entry.is_dir()]
    return folders, [entry.name for entry in seen if not entry.is_dir()], len(entries) - len(seen)


def _holds_folders(folder: Path) -> bool:
    """Whether a folder looks like a part: its folders contain images, and it has none directly."""
    folders, files, _ = listed(folder)
    return not any(map(is_image, files)) and any(_has_images(folder / name) for name in folders)


def _has_images(folder: Path) -> bool:
    return any(is_image(path) for path, _ in walked(folder, Counter()))


def is_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES


def walked(folder: Path, skipped: Counter[str]) -> Iterator[tuple[str, bool]]:
    """The files below a folder by relative path, and whether each lies directly in it.

    Links are followed, and no folder is entered twice.
    """
    waiting, seen = [""], set[tuple[int, int]]()
    while waiting:
        inner = waiting.pop()
        status = (folder / inner).stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        folders, files, hidden = listed(folder / inner)
        skipped["hidden"] += hidden
        yield from ((inner + name, not inner) for name in files)
        waiting += [f"{inner}{name}/" for name in reversed(folders)]


def read_tree(root: Path, nested: bool) -> Tree:
    """The classes in a folder and their images. Raises UserError if there are no classes, or a class has no images."""
    folders, outside, hidden = listed(root)
    skipped = Counter({"hidden": hidden, "outside of classes": sum(map(is_image, outside))})
    if not folders:
        kind = "images, but no folder" if skipped["outside of classes"] else "no folder of images"
        raise UserError(f"{root} has {kind} for each class: {root / 'CLASS' / 'image.png'}")
    files: list[tuple[str, int]] = []
    for number, name in enumerate(folders):
        files += [(f"{name}/{file}", number) for file in _of_class(root / name, nested, skipped)]
    return Tree(root, tuple(folders), files, +skipped)


def _of_class(folder: Path, nested: bool, skipped: Counter[str]) -> list[str]:
    """The images of a class by relative path. Raises UserError if there are none, or all lie deeper."""
    images: list[str] = []
    direct = False
    for path, here in walked(folder, skipped):
        if Path(path).suffix.lower() in BESIDE:
            skipped["beside images"] += 1
            continue
        images.append(path)
        direct |= here
    if not images:
        raise UserError(f"the class {folder.name} has no images: add some to {folder}, or remove it")
    if not direct and not nested:
        first = images[0].partition("/")[0]
        raise UserError(
            f"{folder} has no images of its own, only folders such as `{first}`. If these are the classes, name the "
            f"folder that holds them: `folder:{folder}`; if all their images are of class `{folder.name}`, set "
            "`dataset.nested` to true"
        )
    return images


def check_same(train: Tree, other: Tree) -> None:
    """Raise UserError if two parts have different classes."""
    odd = sorted({*train.names} ^ {*other.names})
    if odd:
        verb = "is" if len(odd) == 1 else "are"
        raise UserError(
            f"{train.root} and {other.root} must have the same classes, but {', '.join(odd[:5])} {verb} in only one"
        )


def skipped_text(skipped: Mapping[str, int]) -> str:
    """The skipped names as "2 hidden names, 1 other file", or an empty text."""
    words = {
        "hidden": ("hidden name", ""),
        "beside images": ("other file", ""),
        "outside of classes": ("image outside of classes", "images outside of classes"),
        "unreadable": ("unreadable image", ""),
        "masks without image": ("mask without an image", "masks without an image"),
        "binary": ("binary file", ""),
        "not included": ("file of another name", "files of other names"),
        "too short": ("short file", ""),
        "bytes at the end": ("byte at the ends of files", "bytes at the ends of files"),
    }
    return ", ".join(counted(skipped[key], *word) for key, word in words.items() if skipped.get(key))
