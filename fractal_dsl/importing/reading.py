"""Reads a module back as a page of Frac, and checks that both compute the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from fractal_dsl.compiled import Compiled
from fractal_dsl.importing.capture import capturers, check_readable, of_program
from fractal_dsl.importing.ends import Examples, input_names, output_names
from fractal_dsl.importing.graph_to_page import graph_to_page
from fractal_dsl.importing.locating import first_difference
from fractal_dsl.importing.lowering import Watch, lower
from fractal_dsl.importing.modes import hidden
from fractal_dsl.importing.modules import is_known
from fractal_dsl.importing.page_to_text import page_to_text
from fractal_dsl.importing.places import line_of
from fractal_dsl.importing.plain import Place, PlainGraph
from fractal_dsl.importing.refusal import Refusal
from fractal_dsl.importing.rewriting import rewritten
from fractal_dsl.importing.same import Comparison, check_batch, compared, outputs, random_like
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import FractalModule


class Imported(NamedTuple):
    """A module read back: its text, the net compiled from it with the module's weights, and how both agree.

    ``notes`` are what the module does in training that the text lacks."""

    text: str
    compiled: Compiled
    model: FractalModule
    comparison: Comparison
    notes: tuple[str, ...] = ()


def from_torch(module: nn.Module, example: torch.Tensor | Sequence[torch.Tensor], *, name: str | None = None) -> str:
    """The text of a module in the language.

    ``example`` is an input with the batch first; for a module that takes several, a tuple with one for each, in the
    order of its parameters, which name the inputs of the net. A dictionary, a tuple or a list of tensors that the
    module returns becomes several outputs, which have the names of the keys. The net is read in eval mode. ``name`` is
    the net's, by default that of the module's class. The module's weights are copied into the net of the text, and both
    run on random input: the text is returned only if they agree. For a module that the language cannot express, it
    raises UserError, which names the operation, the module path and the source line. What the module does in training
    that the text lacks is a warning.
    """
    done = read(module, example, name=name)
    for note in done.notes:
        warnings.warn(note, stacklevel=2)
    return done.text


def read(
    net: nn.Module | ExportedProgram,
    example: torch.Tensor | Sequence[torch.Tensor],
    *,
    name: str | None = None,
    comment: str = "",
) -> Imported:
    """Read a module, or a program of ``torch.export`` with the examples of that export, and compare.

    ``comment`` is a line for the top of the text. Raises Refusal.
    """
    examples = checked_examples(example)
    if isinstance(net, ExportedProgram):
        return _read(net, of_program(net), examples, name or "Net", comment)
    title = name or net_name(type(net).__name__)
    net = nn.Sequential(net) if is_known(net) else net
    training = [inner for inner in net.modules() if inner.training]
    net.eval()
    try:
        twice = tuple([example[:1].expand(2, *example.shape[1:]).contiguous() for example in examples])
        return _read(net, None, twice, title, comment)
    finally:
        for inner in training:
            inner.training = True


def _read(
    net: nn.Module | ExportedProgram, captured: fx.GraphModule | None, examples: Examples, name: str, comment: str
) -> Imported:
    module = captured if captured is not None else net
    assert isinstance(module, nn.Module)
    check_readable(module)
    inputs = input_names(net, len(examples))
    x = random_like(examples, 3 if captured is None else len(examples[0]))
    expected, stable = outputs(module, x)

    def lowered(captured: fx.GraphModule, examples: Examples = examples, watch: Watch | None = None) -> PlainGraph:
        return lower(captured, examples, inputs, lambda paths: output_names(net, paths, inputs), watch)

    way, graph = ("", rewritten(lowered(captured))) if captured else _captured(module, examples, lowered)
    if not stable:
        reason = "it computes something else when it runs again, because it keeps state or draws random numbers"
        raise Refusal(reason, Place((), line_of(type(module).forward)))
    notes, batches = ((), []) if captured else hidden(module, examples, follows_sizes=way == "torch.export")
    text = page_to_text(graph_to_page(graph, name, comment))
    try:
        compiled = compile_text(text)
    except FracError as error:
        raise Refusal(f"its text would have an error; please report this\n{error}") from error
    try:
        model, comparison = compared(compiled, graph, module, x, expected)
    except Refusal as refusal:
        if refusal.place.scopes or refusal.place.line:
            raise
        graph_module = captured or dict(capturers())[way](module, examples)
        place = first_difference(graph_module, examples, lowered)
        place = place if place.line or place.scopes else next((at for _, at in batches), place)
        raise Refusal(refusal.reason, place) from refusal
    for size, place in batches:
        check_batch(model, module, random_like(examples, size), place)
    return Imported(text, compiled, model, comparison, notes)


def checked_examples(example: Any) -> Examples:
    """The example of each input. Raises Refusal if one is no tensor with a batch that the language has."""
    examples = tuple(example) if isinstance(example, list | tuple) else (example,)
    if not examples:
        raise Refusal("there is no example of an input")
    for at, example in enumerate(examples, 1):
        shown = f"example {at}" if len(examples) > 1 else "the example"
        if not isinstance(example, torch.Tensor):
            kind = type(example).__name__
            raise Refusal(f"{shown} is {kind}, not a tensor; for several inputs, give a tuple of tensors")
        if example.dtype not in (torch.float32, torch.int64):
            raise Refusal(f"{shown} is {example.dtype}, not float32 or int64".replace("torch.", ""))
        if example.dim() < 2 or not example.numel():
            raise Refusal(f"{shown} has shape {list(example.shape)}; it needs the batch and at least one more axis")
    return examples


def _captured(
    module: nn.Module, examples: Examples, lowered: Callable[[fx.GraphModule], PlainGraph]
) -> tuple[str, PlainGraph]:
    """The first way that reads a module, and its plain graph. Raises the Refusal that names an operation."""
    refusals: list[Refusal] = []
    for way, capture in capturers():
        try:
            return way, rewritten(lowered(capture(module, examples)))
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
