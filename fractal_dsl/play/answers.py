"""Answers to the page about a text: its errors and figures, its picture, its plans, and help for the editor.

Runs in a worker: a process of the server, or Python in the browser.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fractal_dsl import pipeline
from fractal_dsl.base.deep import deep
from fractal_dsl.base.errors import UserError
from fractal_dsl.compiled import Compiled
from fractal_dsl.language.diagnostics import FracError, Report
from fractal_dsl.language.imports import load
from fractal_dsl.play import assist, drawings
from fractal_dsl.play.asked import SpecText
from fractal_dsl.play.params import controls
from fractal_dsl.program.program_to_summary import Summary, column_rows, figure_rows


def answer(kind: str, text: SpecText, asked: Mapping[str, Any], *, allow_python: bool = False) -> dict[str, Any]:
    """The answer to a question of a kind in ``KINDS``. Any failure is in ``error``.

    ``allow_python`` lets ``extern`` load Python code.
    """
    try:
        return KINDS[kind](text, asked, allow_python)
    except FracError as error:
        return {"error": error.diagnostics[0].message}
    except UserError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "out of memory: lower the parameters"}
    except Exception as error:
        return {"error": f"internal error: {type(error).__name__}: {error}. This is a bug in fractal_dsl."}


def check(text: SpecText, asked: Mapping[str, Any], allow_python: bool) -> dict[str, Any]:
    """The errors, warnings, parameters, nets and figures of a text."""
    report = Report(text.source)
    with deep():
        files = load(text.source, report)
    answer: dict[str, Any] = {"errors": [], "more": 0, "nets": [], "figures": None, "net": None}
    nets: list[Compiled] = []
    try:
        nets, warnings = pipeline.checked(text.source, text.declared(), allow_python=allow_python)
    except FracError as error:
        warnings = error.warnings
        answer |= {"errors": [d.json() for d in error.diagnostics], "more": error.cut}
    answer["warnings"] = [d.json() for d in warnings]
    if nets:
        net = drawings.pick(nets, text.net)
        answer |= {"nets": [n.program.net for n in nets], "net": net.program.net, "figures": _figures(net.summary)}
    # a text with errors may declare only some parameters, so the page keeps its sliders
    values = nets[0].program.params if nets else {}
    return {**answer, "params": None if report.errors else controls(files, values)}


def _figures(s: Summary) -> dict[str, Any]:
    """The figures of ``info`` as texts. The ``share`` of a column is its share of the net's MACs."""
    columns = [
        {"cells": cells, "share": column.macs / s.macs if s.macs else 0.0}
        for cells, column in zip(column_rows(s), s.columns, strict=False)
    ]
    return {"rows": figure_rows(s), "columns": columns}


Answer = Callable[[SpecText, Mapping[str, Any], bool], dict[str, Any]]

KINDS: dict[str, Answer] = {
    "check": check,
    "picture": drawings.picture,
    "export": drawings.export,
    "plan": drawings.plan,
    "complete": assist.complete,
    "hover": assist.about,
    "definition": assist.definition,
    "fixes": assist.quick_fixes,
    "format": assist.formatted,
    "rename": assist.renamed,
    "explain": assist.explained,
}
"""The answers by kind of question."""
