"""``extern`` declarations: whether the Python class may be used, and is there."""

from __future__ import annotations

import re
from pathlib import Path

from fractal_dsl.language import syntax as s
from fractal_dsl.program.syntax_to_program.context import Context


def check_extern(context: Context, decl: s.Extern, allow_python: bool) -> bool:
    """Whether the Python class of a declaration may be used, and is there; reports why not."""
    target = str(decl.target.value)
    if not allow_python:
        help = "where you trust the file and that code, say --allow-python"
        context.report.error("E0106", decl.span, f"`extern` runs the Python code of {target}", help=help)
        return False
    from fractal_dsl.ops.foreign_python import Failed, load_class, search_first

    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", target):
        message = f'"{target}" names no class of a Python module'
        context.report.error("E0302", decl.target.span, message, help='write `from "package.module:Class"`')
        return False
    search_first(Path(context.report.sources.at(decl.span).name).parent)
    try:
        load_class(target)
    except Failed as error:
        context.report.error("E0801", decl.target.span, f"{target} cannot be loaded: {error}")
        return False
    return True
