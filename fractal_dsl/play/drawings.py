"""Pictures of a text's net, as a page and as files, and the figures of its plans."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fractal_dsl import pipeline
from fractal_dsl.base.errors import UserError
from fractal_dsl.compiled import Compiled
from fractal_dsl.picture.shown import BoxLabel, DrawnGraph, HeatOf, Shown, View
from fractal_dsl.play.asked import Picture, SpecText

FORMATS = {"svg": "image/svg+xml", "png": "image/png", "pdf": "application/pdf"}
"""The formats of ``export`` with their media types."""


def picture(text: SpecText, asked: Mapping[str, Any], allow_python: bool) -> dict[str, Any]:
    """The picture of a net as a page: ``{"picture": {"view": "net", …}}`` to ``{"page", "note"}``."""
    from fractal_dsl.picture.dot_to_page import write_picture_page
    from fractal_dsl.picture.graph_to_dot import LIGHT, Look, Opening, follow_reader

    nets = _nets(text, allow_python)
    if not nets:
        return {"page": None}
    chosen = Picture(**asked["picture"])
    look = Look(label=BoxLabel(chosen.label).value, theme=LIGHT, opening=Opening(chosen.depth))
    shown = _shown(nets, text, chosen)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "picture.html"
        try:
            drawn = shown.page(look, unfold="the depth `all`")
            write_picture_page(*drawn, shown.compiled.program.net, follow_reader(), page)
        except UserError as error:
            raise UserError(str(error).replace(f"{folder}/", "")) from None
        return {"page": page.read_text("utf-8"), "note": shown.note}


def export(text: SpecText, asked: Mapping[str, Any], allow_python: bool) -> dict[str, Any]:
    """The picture as a file: ``{"format": "svg", "picture": {…}}`` to ``{"name", "type", "data"}``, in base64.

    An SVG follows the reader's theme, unless ``light`` is true.
    """
    from fractal_dsl.picture.dot_to_picture import draw
    from fractal_dsl.picture.graph_to_dot import LIGHT, Look, Opening, follow_reader

    format = str(asked["format"])
    nets = _nets(text, allow_python)
    if not nets:
        raise UserError("no net is declared here, so there is nothing to draw")
    chosen = Picture(**asked["picture"])
    shown = _shown(nets, text, chosen)
    dot = shown.dot(Look(label=BoxLabel(chosen.label).value, theme=LIGHT, opening=Opening(chosen.depth)))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{shown.compiled.program.net}.{format}"
        try:
            draw(dot, file, style=follow_reader() if format == "svg" and not asked.get("light") else "")
        except UserError as error:
            raise UserError(str(error).replace(f"{folder}/", "")) from None
        data = base64.b64encode(file.read_bytes()).decode()
    return {"name": file.name, "type": FORMATS[format], "data": data}


def plan(text: SpecText, asked: Mapping[str, Any], allow_python: bool) -> dict[str, Any]:
    """What ``fractal-dsl plan`` prints: ``{"plan": "column:1"}`` to ``{"text"}``."""
    from fractal_dsl.plans.plan_on_graph import plan_of_spec
    from fractal_dsl.plans.plan_to_table import plan_facts, plan_table

    nets = _nets(text, allow_python)
    if not nets:
        raise UserError("no net is declared here, so there are no plans")
    graph = pick(nets, text.net).graph
    return {"text": plan_table(plan_facts(graph, plan_of_spec(str(asked["plan"]), graph)))}


def _nets(text: SpecText, allow_python: bool) -> list[Compiled]:
    return pipeline.check(text.source, text.declared(), allow_python=allow_python, settings=False)


def _shown(nets: list[Compiled], text: SpecText, chosen: Picture) -> Shown:
    return Shown(
        pick(nets, text.net),
        view=View(chosen.view),
        block=chosen.block,
        stage=DrawnGraph.raw if chosen.raw else DrawnGraph.collapsed,
        plan=chosen.plan,
        heat=HeatOf(chosen.heat) if chosen.heat else None,
    )


def pick(nets: list[Compiled], name: str | None) -> Compiled:
    """The net with a name, or else the last one."""
    return next((net for net in nets if net.program.net == name), nets[-1])
