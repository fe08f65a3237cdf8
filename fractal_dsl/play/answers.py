"""Answers to the page: errors and figures of a text, or its picture. Runs in a worker."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fractal_dsl import pipeline
from fractal_dsl.base.deep import deep
from fractal_dsl.base.errors import UserError
from fractal_dsl.compiled import Compiled
from fractal_dsl.language.diagnostics import FracError, Report
from fractal_dsl.language.imports import load
from fractal_dsl.language.source import Source
from fractal_dsl.picture.shown import BoxLabel, DrawnGraph, HeatOf, Shown, View
from fractal_dsl.play.params import controls
from fractal_dsl.program.program_to_summary import Summary, column_rows, figure_rows


@dataclass(frozen=True)
class SpecText:
    """A text with the chosen parameter values, as ``-p`` takes them, and the chosen net."""

    source: Source
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    net: str | None = None


@dataclass(frozen=True)
class Picture:
    """The options of a picture, as ``render`` has them."""

    view: str = "net"
    block: int = 1
    raw: bool = False
    plan: str | None = None
    label: str = "none"
    heat: str | None = None
    depth: int | None = None


def answer(text: SpecText, picture: Picture | None, *, allow_python: bool = False) -> dict[str, Any]:
    """The errors and figures of a text, or its picture if requested. Any failure is in ``error``.

    ``allow_python`` lets ``extern`` load Python code.
    """
    try:
        return _checked(text, allow_python) if picture is None else _drawn(text, picture, allow_python)
    except UserError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "out of memory: lower the parameters"}
    except Exception as error:
        return {"error": f"internal error: {type(error).__name__}: {error}. This is a bug in fractal_dsl."}


def _checked(text: SpecText, allow_python: bool) -> dict[str, Any]:
    report = Report(text.source)
    with deep():
        files = load(text.source, report)
    params = _declared(text.params, controls(files, {}))
    answer: dict[str, Any] = {"errors": [], "more": 0, "nets": [], "figures": None, "net": None}
    nets: list[Compiled] = []
    try:
        nets, warnings = pipeline.checked(text.source, params, allow_python=allow_python)
    except FracError as error:
        warnings = error.warnings
        answer |= {"errors": [d.json() for d in error.diagnostics], "more": error.cut}
    answer["warnings"] = [d.json() for d in warnings]
    if nets:
        net = _pick(nets, text.net)
        answer |= {"nets": [n.program.net for n in nets], "net": net.program.net, "figures": _figures(net.summary)}
    # a text with errors may declare only some parameters, so the page keeps its sliders
    values = nets[0].program.params if nets else {}
    return {**answer, "params": None if report.errors else controls(files, values)}


def _drawn(text: SpecText, picture: Picture, allow_python: bool) -> dict[str, Any]:
    from fractal_dsl.picture.dot_to_page import write_picture_page
    from fractal_dsl.picture.graph_to_dot import LIGHT, Look, Opening, follow_reader

    files = load(text.source, Report(text.source))
    params = _declared(text.params, controls(files, {}))
    try:
        nets = pipeline.check(text.source, params, allow_python=allow_python, settings=False)
    except FracError as error:
        raise UserError(error.diagnostics[0].message) from None
    if not nets:
        return {"page": None}
    look = Look(label=BoxLabel(picture.label).value, theme=LIGHT, opening=Opening(picture.depth))
    shown = Shown(
        _pick(nets, text.net),
        view=View(picture.view),
        block=picture.block,
        stage=DrawnGraph.raw if picture.raw else DrawnGraph.collapsed,
        plan=picture.plan,
        heat=HeatOf(picture.heat) if picture.heat else None,
    )
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "picture.html"
        try:
            write_picture_page(*shown.page(look), shown.compiled.program.net, follow_reader(), page)
        except UserError as error:
            raise UserError(str(error).replace(f"{folder}/", "")) from None
        return {"page": page.read_text("utf-8"), "note": shown.note}


def _declared(params: Mapping[str, str], known: list[dict[str, Any]]) -> dict[str, str]:
    """The values of parameters that the text declares. A parameter that is being renamed is no error."""
    names = {control["name"] for control in known}
    return {name: value for name, value in params.items() if name in names}


def _pick(nets: list[Compiled], name: str | None) -> Compiled:
    return next((net for net in nets if net.program.net == name), nets[-1])


def _figures(s: Summary) -> dict[str, Any]:
    """The figures of ``info`` as texts. The ``share`` of a column is its share of the net's MACs."""
    columns = [
        {"cells": cells, "share": column.macs / s.macs if s.macs else 0.0}
        for cells, column in zip(column_rows(s), s.columns, strict=False)
    ]
    return {"rows": figure_rows(s), "columns": columns}
