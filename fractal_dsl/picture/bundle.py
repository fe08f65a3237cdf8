"""A picture for a notebook: SVG where it can be drawn, and always a text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fractal_dsl.base.errors import UserError

if TYPE_CHECKING:
    from fractal_dsl.graph.graph import JoinGraph
    from fractal_dsl.program.program import Program

Bundle = dict[str, str]
"""What ``_repr_mimebundle_`` returns: texts by their MIME type."""


def graph_bundle(graph: JoinGraph, text: str) -> Bundle:
    """The picture of a net; the text alone if it cannot be drawn, with the reason."""
    from fractal_dsl.picture.graph_to_dot import LIGHT, Look, graph_to_dot

    return _drawn(lambda: graph_to_dot(graph, Look(theme=LIGHT)), text)


def program_bundle(program: Program, text: str) -> Bundle:
    """The picture of a net's rule, for a net that is too large to draw."""
    from fractal_dsl.picture.graph_to_dot import LIGHT, Look, rule_to_dot

    return _drawn(lambda: rule_to_dot(program, Look(theme=LIGHT)), text)


def _drawn(dot: Callable[[], str], text: str) -> Bundle:
    from fractal_dsl.picture.dot_to_picture import svg_text
    from fractal_dsl.picture.graph_to_dot import follow_reader

    try:
        svg = svg_text(dot(), Path("the picture"), style=follow_reader())
    except UserError as error:
        return {"text/plain": f"{text}\n(no picture: {error})"}
    return {"text/plain": text, "image/svg+xml": svg}
