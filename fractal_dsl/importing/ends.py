"""The inputs and outputs of a module: the tensors in what it returns, and names for both."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from fractal_dsl.importing.naming import TAKEN
from fractal_dsl.importing.places import line_of
from fractal_dsl.importing.plain import Place
from fractal_dsl.importing.refusal import Refusal
from fractal_dsl.language.text_to_syntax import KEYWORDS
from fractal_dsl.runtime import FractalModule

Examples = tuple[torch.Tensor, ...]
"""One example of each input, in order, with the batch first."""
Path = tuple[str | int, ...]
"""The keys that lead to a tensor in what a module returns: of dictionaries, named tuples, and positions."""


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The values inside dictionaries, tuples and lists, in order, with their paths. ``None`` is left out."""
    match value:
        case None:
            return
        case dict():
            items = [(key if isinstance(key, str) else str(key), item) for key, item in value.items()]
        case tuple() if hasattr(value, "_fields"):
            items = [*zip(value._fields, value, strict=True)]  # pyright: ignore[reportAttributeAccessIssue]
        case list() | tuple():
            items = [*enumerate(value)]
        case _:
            yield path, value
            return
    for key, item in items:
        yield from leaves(item, (*path, key))


def shown(path: Path) -> str:
    """An output in a message."""
    if not path:
        return "its output"
    numbered = len(path) == 1 and isinstance(path[0], int)
    return f"its output {path[0] + 1}" if numbered and isinstance(path[0], int) else f"its output `{_word(path)}`"


def tensors(result: Any) -> list[tuple[Path, torch.Tensor]]:
    """The tensors that a module returned. Raises Refusal if it returned none, or something else beside them."""
    given = [*leaves(result)]
    if not given:
        raise Refusal("it returns no tensor")
    for path, value in given:
        if not isinstance(value, torch.Tensor):
            raise Refusal(f"{shown(path)} is {type(value).__name__}, not a tensor: return tensors only")
    return given


def input_names(module: nn.Module | ExportedProgram, count: int) -> tuple[str, ...]:
    """Names for the inputs of a module, those of its parameters. Raises Refusal if it takes another number."""
    if isinstance(module, FractalModule):
        wanted = [node.name for _, node in module.join_graph.inputs]
    elif isinstance(module, ExportedProgram):
        wanted = [*module.graph_signature.user_inputs]
    else:
        wanted = _parameters(module, count)
    if len(wanted) != count:
        expected = f"{len(wanted)} input{'s' * (len(wanted) != 1)} ({', '.join(map(str, wanted))})"
        place = Place((), line_of(type(module).forward)) if isinstance(module, nn.Module) else None
        raise Refusal(f"it takes {expected}, and examples are given for {count}", place, final=True)
    return _valid([str(name) for name in wanted], TAKEN, "input") if count > 1 else ("x",)


def _parameters(module: nn.Module, count: int) -> list[str]:
    """The parameters of ``forward`` that take so many inputs; all that need one, if they are more."""
    given = inspect.signature(module.forward).parameters.values()
    kinds = inspect.Parameter
    placed = [p.name for p in given if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    starred = {p.name for p in given if p.kind in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)}
    needed = [p.name for p in given if p.default is kinds.empty and p.name not in starred]
    names = placed[:count]
    names += [f"{p.name}{i + 1}" for p in given if p.kind is kinds.VAR_POSITIONAL for i in range(count - len(names))]
    return names if names[: len(needed)] == needed else needed


def output_names(module: nn.Module | ExportedProgram, paths: Sequence[Path], inputs: Iterable[str]) -> tuple[str, ...]:
    """Names for the outputs of a module: the keys that lead to them. None if there is one, or if they have positions
    only, as in a tuple."""
    if isinstance(module, FractalModule):
        wanted = [*module.join_graph.output[1].names]
        numbered = wanted == [f"output{i + 1}" for i in range(len(wanted))]
    else:
        wanted = [*map(_word, paths)]
        numbered = all(isinstance(key, int) for path in paths for key in path)
    return () if numbered or len(paths) == 1 else _valid(wanted, {*KEYWORDS, *inputs}, "out")


def _word(path: Path) -> str:
    return "_".join(map(str, path))


def _valid(wanted: Sequence[str], taken: Iterable[str], prefix: str) -> tuple[str, ...]:
    """Different names of the language like the wanted ones."""
    taken, result = {*taken}, list[str]()
    for name in wanted:
        plain = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name).strip("_") or prefix
        base = f"{prefix}{plain}" if plain[0].isdigit() else plain
        number, plain = 1, base
        while plain in taken:
            number += 1
            plain = f"{base}{number}" if not base[-1].isdigit() else f"{base}_{number}"
        taken.add(plain)
        result.append(plain)
    return tuple(result)
