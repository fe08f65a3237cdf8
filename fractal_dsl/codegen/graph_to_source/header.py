"""The docstring of ``model.py``: what the net is, how to load its weights, and what the file leaves out."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.base.version import __version__
from fractal_dsl.graph.graph import JoinGraph


def header(
    graph: JoinGraph, title: str, notes: Sequence[str], name: str, modules: Sequence[str], example: Sequence[str]
) -> str:
    """The docstring. ``notes`` follow ``title``; ``name`` is the net's class; ``modules`` are those of ``extern``;
    ``example`` is code that calls the loaded net."""
    needs = f"torch and, by `extern`, {', '.join(modules)}" if modules else "torch only"
    lines = [
        title,
        "",
        *[line for note in notes for line in (note, "")],
        f"Compiled by fractal_dsl {__version__}. This file needs {needs}.",
        "Loading the weights beside it also needs safetensors:",
        "",
        *[f"    {line}" for line in _imports(example)],
        "    from safetensors.torch import load_file",
        f"    from model import {name}",
        f"    model = {name}()",
        '    model.load_state_dict(load_file("weights.safetensors"))',
        "    model.eval()",
        *[f"    {line}" for line in example],
        "",
        "In eval mode it computes exactly what the compiled net computes.",
        *_left_out(graph),
    ]
    return "\n".join(lines) + "\n"


def _imports(example: Sequence[str]) -> list[str]:
    """The import statements that the example needs, before that of safetensors."""
    text = "\n".join(example)
    known = {"json.": "import json", "Path(": "from pathlib import Path", "torch.": "import torch"}
    return [line for use, line in known.items() if use in text]


def _left_out(graph: JoinGraph) -> list[str]:
    """Features of the spec that the file does not have."""
    lines: list[str] = []
    drop_path = graph.drop_path if graph.joins() else None
    if drop_path is not None and (drop_path.local or drop_path.global_):
        lines.append("In training each call draws a drop-path plan from torch's generator, and skips dropped branches.")
        lines.append("Batch norms keep one set of statistics, for the whole net.")
    if drop_path is not None and drop_path.all_columns:
        lines.append("Training with `columns=all` also trains each column on each mini-batch: extract them for that.")
    if graph.dropping():
        lines.append("In training it leaves branches out, as `@drop` says, by draws from torch's generator.")
    if graph.init.scheme != "default":
        lines.append(f"A new instance has torch's initial weights, not those of `{graph.init}`.")
    return ["", *lines] if lines else []
