"""Reads a module back as a page of Frac, and checks that both compute the same."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from fractal_dsl.compiled import Compiled
from fractal_dsl.importing.capture import capturers, check_readable, of_program
from fractal_dsl.importing.graph_to_page import graph_to_page
from fractal_dsl.importing.lowering import lower
from fractal_dsl.importing.modules import is_known
from fractal_dsl.importing.page_to_text import page_to_text
from fractal_dsl.importing.places import line_of
from fractal_dsl.importing.plain import Place, PlainGraph
from fractal_dsl.importing.refusal import Refusal
from fractal_dsl.importing.rewriting import rewritten
from fractal_dsl.importing.same import Comparison, compared, outputs, random_like
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import FractalModule


class Imported(NamedTuple):
    """A module read back: its text, the net compiled from it with the module's weights, and how both agree."""

    text: str
    compiled: Compiled
    model: FractalModule
    comparison: Comparison


def from_torch(module: nn.Module, example: torch.Tensor, *, name: str | None = None) -> str:
    """The text of a module in the language.

    ``example`` is an input with the batch first. The net is read in eval mode. ``name`` is the net's, by default that
    of the module's class. The module's weights are copied into the net of the text, and both run on random input: the
    text is returned only if they agree. For a module that the language cannot express, it raises UserError, which names
    the operation, the module path and the source line.
    """
    return read(module, example, name=name).text


def read(
    net: nn.Module | ExportedProgram,
    example: torch.Tensor,
    *,
    name: str | None = None,
    comment: str = "",
) -> Imported:
    """Read a module, or a program of ``torch.export`` with the example of that export, and compare.

    ``comment`` is a line for the top of the text. Raises Refusal.
    """
    if isinstance(net, ExportedProgram):
        captured = of_program(net)
        return _read(captured, captured, example, name or "Net", comment)
    title = name or net_name(type(net).__name__)
    net = nn.Sequential(net) if is_known(net) else net
    training = [inner for inner in net.modules() if inner.training]
    net.eval()
    try:
        return _read(net, None, checked_example(example), title, comment)
    finally:
        for inner in training:
            inner.training = True


def _read(
    module: nn.Module, captured: fx.GraphModule | None, example: torch.Tensor, name: str, comment: str
) -> Imported:
    check_readable(module)
    x = random_like(example, 3 if captured is None else len(example))
    expected, stable = outputs(module, x)
    graph = _captured(module, example) if captured is None else rewritten(lower(captured, example))
    if not stable:
        reason = "it computes something else when it runs again, because it keeps state or draws random numbers"
        raise Refusal(reason, Place((), line_of(type(module).forward)))
    text = page_to_text(graph_to_page(graph, name, comment))
    try:
        compiled = compile_text(text)
    except FracError as error:
        raise Refusal(f"its text would have an error; please report this\n{error}") from error
    model, comparison = compared(compiled, graph, module, x, expected)
    return Imported(text, compiled, model, comparison)


def checked_example(example: torch.Tensor) -> torch.Tensor:
    """An example of two inputs. Raises Refusal if it is no tensor with a batch that the language has."""
    if not isinstance(example, torch.Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise Refusal("a net has one input tensor")
    if example.dtype not in (torch.float32, torch.int64):
        raise Refusal(f"the example is {example.dtype}, not float32 or int64".replace("torch.", ""))
    if example.dim() < 2 or not example.numel():
        raise Refusal(f"the example has shape {list(example.shape)}; it needs the batch and at least one more axis")
    return example[:1].expand(2, *example.shape[1:]).contiguous()


def _captured(module: nn.Module, example: torch.Tensor) -> PlainGraph:
    """The module as a plain graph, by the first way that reads it. Raises the Refusal that names an operation."""
    refusals: list[Refusal] = []
    for _, capture in capturers():
        try:
            return rewritten(lower(capture(module, example), example))
        except Refusal as refusal:
            if refusal.final:
                raise
            refusals.append(refusal)
    named = [r for r in refusals if r.place.line] or refusals
    raise next((r for r in named if not r.capture), named[0])


def net_name(name: str) -> str:
    """A name as the name of a net."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name).strip("_") or "Net"
    return plain if not plain[0].isdigit() else f"Net{plain}"
