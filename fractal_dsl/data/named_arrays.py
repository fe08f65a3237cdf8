"""The arrays of a NumPy archive by what they hold: the inputs or the targets of a part, perhaps of one input or output.

``x_train`` are the training inputs of a net with one input, and ``x_train.left`` those of the input ``left``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fractal_dsl.base.errors import UserError, help_text, suggesting
from fractal_dsl.base.texts import shortened

Arrays = Mapping[str, NDArray[Any]]
INPUTS, TARGETS = ("inputs", "images", "x"), ("targets", "labels", "masks", "y")
PARTS = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}


def names_of(bases: Sequence[str], part: str) -> list[str]:
    """The names that an array of a part may have, as NumPy users, Keras (``x_train``) and MedMNIST (``train_images``)
    write them. The part's name may be missing for training examples."""
    names = [name for base in bases for p in PARTS[part] for name in (f"{base}_{p}", f"{p}_{base}")]
    return names + [*bases] * (part == "train")


def array_name(path: Path, arrays: Arrays, bases: Sequence[str], part: str, suffix: str = "") -> str | None:
    """The name of the array; None if there is none. Raises UserError if two arrays could be meant."""
    there = [name + suffix for name in names_of(bases, part) if name + suffix in arrays]
    if len(there) > 1:
        raise UserError(f"{path} has both {there[0]} and {there[1]}: keep the one to use")
    return next(iter(there), None)


def by_end(
    path: Path, arrays: Arrays, bases: Sequence[str], part: str, ends: Sequence[str], kind: str
) -> dict[str, str] | None:
    """The names of the arrays of a part by input or output (``kind``); None if there are none.

    Raises UserError if only some are there, or if there is one for an unknown input or output.
    """
    picked = {end: array_name(path, arrays, bases, part, f".{end}") for end in ends}
    there = {end: name for end, name in picked.items() if name is not None}
    if not there:
        return None
    if missing := [end for end in ends if end not in there]:
        first = next(iter(there.values()))
        wanted = f"{first.rpartition('.')[0]}.{missing[0]}"
        raise UserError(f"{path} has {first}, but no array {wanted} for the {kind} `{missing[0]}`")
    return there


def check_ends(path: Path, arrays: Arrays, net: str, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Raise UserError for an array of an input or output that the net does not have."""
    for bases, ends, kind in ((INPUTS, inputs, "input"), (TARGETS, outputs, "output")):
        plain = {name for part in PARTS for name in names_of(bases, part)}
        for name in arrays:
            stem, dot, end = name.partition(".")
            if dot and stem in plain and end not in ends:
                known = help_text(suggesting(end, ends, f"its {kind}s are {shortened([*ends])}"))
                raise UserError(f"{path} has {name}, but net {net} has no {kind} `{end}`: {known}")
