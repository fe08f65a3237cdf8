"""Arrays: the packaged digits, and the user's NumPy archives."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.config import Npz
from fractal_dsl.data.named_arrays import INPUTS, PARTS, TARGETS, Arrays, array_name, by_end, check_ends
from fractal_dsl.data.several import SeveralExamples
from fractal_dsl.data.source import MAX_BYTES, Examples, Splits, numbered
from fractal_dsl.data.values import checked_values


def digits() -> Splits:
    """The 1,797 digits of scikit-learn, uint8 [1797, 1, 8, 8]."""
    with (files("fractal_dsl") / "data" / "digits.npz").open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        return Splits(Examples(archive["images"][:, None], archive["labels"].astype(np.int64), numbered(10)))


def npz(
    config: Npz,
    net: str,
    into: Mapping[str, ops.Tensor],
    out: Sequence[str],
    trained: Sequence[str],
    vocabulary: Mapping[str, int | None],
) -> Splits:
    """The arrays of an archive, in the layout of a net, for its inputs ``into`` and those of its outputs ``out`` that
    are ``trained``.

    Raises UserError if it has no usable arrays.
    """
    path = Path(config.path)
    arrays = _read(path)
    check_ends(path, arrays, net, [*into], out)
    made: dict[str, SeveralExamples] = {}
    for part in PARTS:
        inputs, targets = _inputs_of(path, arrays, part, [*into]), _targets_of(path, arrays, part, trained)
        if part == "train" and (inputs is None or targets is None):
            raise _absent(path, arrays, [*into], trained, inputs is None)
        if inputs is None or targets is None:
            continue
        for name in (*inputs.values(), *targets.values()):
            if not arrays[name].ndim or not len(arrays[name]):
                raise UserError(f"{path}: {name} has no examples: its shape is {list(arrays[name].shape)}")
        given = {
            end: _inputs(arrays[name], into[end], vocabulary.get(end), f"{path}: {name}")
            for end, name in inputs.items()
        }
        made[part] = _examples(path, arrays, given, inputs, targets, config.ignored)
        if [*targets] != [*made["train"].targets_of]:
            raise UserError(f"{path}: the targets for {part} are not of the same outputs as those for training")
    several = len(into) > 1 or len(made["train"].targets_of) > 1
    sources = {part: source if several else source.alone() for part, source in made.items()}
    return Splits(sources["train"], sources.get("validation"), sources.get("test"))


def _inputs_of(path: Path, arrays: Arrays, part: str, inputs: Sequence[str]) -> dict[str, str] | None:
    """The names of the arrays with the inputs of a part, by input; None if there are none."""
    plain = array_name(path, arrays, INPUTS, part)
    if len(inputs) == 1 and plain is not None:
        return {inputs[0]: plain}
    if plain is not None:
        wanted = " and ".join(f"{plain}.{name}" for name in inputs)
        raise UserError(f"{path} has {plain}, but the net has several inputs: store them as {wanted}")
    return by_end(path, arrays, INPUTS, part, inputs, "input")


def _targets_of(path: Path, arrays: Arrays, part: str, outputs: Sequence[str]) -> dict[str, str] | None:
    """The names of the arrays with the targets of a part, by output: only the first if all share them."""
    plain, own = array_name(path, arrays, TARGETS, part), by_end(path, arrays, TARGETS, part, outputs, "output")
    if plain is not None and own is not None:
        raise UserError(f"{path} has both {plain} and {next(iter(own.values()))}: keep the one to use")
    return {outputs[0]: plain} if plain is not None else own


def _absent(path: Path, arrays: Arrays, inputs: Sequence[str], outputs: Sequence[str], no_inputs: bool) -> UserError:
    """The error for an archive without training examples."""
    there = ", ".join(sorted(arrays)) or "nothing"
    if len(inputs) > 1 and no_inputs:
        wanted = " and ".join(f"x_train.{name}" for name in inputs)
        return UserError(f"{path} must have an array for each input, {wanted}, but it has {there}")
    if len(outputs) > 1 and not no_inputs:
        wanted = " and ".join(f"y_train.{name}" for name in outputs)
        return UserError(f"{path} must have y_train for all outputs, or {wanted}, but it has {there}")
    return UserError(
        f"{path} must have arrays `inputs` and `targets`, `images` and `labels`, `x` and `y`, or "
        f"x_train and y_train, but it has {there}"
    )


def _examples(
    path: Path,
    arrays: Arrays,
    given: Mapping[str, NDArray[Any]],
    inputs: Mapping[str, str],
    targets: Mapping[str, str],
    ignored: int | None,
) -> SeveralExamples:
    """The inputs and targets of a part. Raises UserError if their numbers differ."""
    first, x = next(iter(inputs.values())), next(iter(given.values()))
    for name in (*inputs.values(), *targets.values()):
        if len(arrays[name]) != len(x):
            both = f"{path} has {len(x):,} {first} and {len(arrays[name]):,} {name}"
            needs = "a target for each input" if name in targets.values() else "as many of each input"
            raise UserError(f"{both}, but needs {needs}")
    for name in targets.values():
        if arrays[name].dtype.kind not in "buif":
            raise UserError(f"{path}: {name} contains {arrays[name].dtype}, but targets must be numbers")

    def examples(x: NDArray[Any], name: str) -> Examples:
        return Examples(x, arrays[name], split="by content", named=f"{path}: {name}[{{}}]".format, ignored=ignored)

    main = next(iter(targets.values()))
    return SeveralExamples(
        {end: examples(x, main) for end, x in given.items()}, {end: examples(x, name) for end, name in targets.items()}
    )


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise UserError(
                f"{path} unpacks to {size / 1e9:.1f} GB, but at most {MAX_BYTES / 1e9:.0f} GB fit in memory"
            )
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        reason = "it contains Python objects" if "allow_pickle" in str(error) else "it is damaged or of another type"
        raise UserError(f"{path} is not an archive of arrays as numpy.savez writes it: {reason}") from None


def _inputs(x: NDArray[Any], into: ops.Tensor, vocabulary: int | None, where: str) -> NDArray[Any]:
    """The inputs in the net's type, channels first. Another shape is kept, and reported later."""
    if x.shape[1:] != into.shape:
        if (1, *x.shape[1:]) == into.shape:
            x = x[:, None]
        elif x.ndim > 2 and (x.shape[-1], *x.shape[1:-1]) == into.shape:
            x = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    return checked_values(x, into, vocabulary, where)
