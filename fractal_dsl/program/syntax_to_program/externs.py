"""``extern`` declarations: check that the Python class may be used and exists."""

from __future__ import annotations

import re
from pathlib import Path

from fractal_dsl.language import syntax as s
from fractal_dsl.program.syntax_to_program.context import Context


def check_extern(context: Context, decl: s.Extern, allow_python: bool) -> bool:
    """Whether the Python class of a declaration may be used and exists. Reports if not."""
    target = str(decl.target.value)
    if not allow_python:
        help = "if you trust the file and that code, pass `--allow-python`"
        context.report.error("E0106", decl.span, f"`extern` runs the Python code of {target}", help=help)
        return False
    from fractal_dsl.ops.foreign_python import Failed, load_class, nn_names, search_first

    parts = re.split("[.:]", target)
    help = None
    if parts[0] == "nn" and parts[1:] and parts[1] in nn_names():
        help = f"modules of torch.nn need no declaration: write `nn.{parts[1]}(…)` where you use it"
    if target.count(":") != 1 or not all(map(str.isidentifier, parts)):
        message = f'"{target}" does not name a class of a Python module'
        context.report.error("E0302", decl.target.span, message, help=help or 'write `from "package.module:Class"`')
        return False
    search_first(Path(context.report.sources.at(decl.span).name).parent)
    try:
        load_class(target)
    except Failed as error:
        context.report.error("E0801", decl.target.span, f"{target} cannot be loaded: {error}", help=help)
        return False
    return True
