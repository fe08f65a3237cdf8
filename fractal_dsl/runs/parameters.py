"""The parameters of a run: those that were given, and the defaults of the others."""

from __future__ import annotations

from pathlib import Path

from fractal_dsl.base.parts import read_part
from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.imports import load
from fractal_dsl.language.source import Source
from fractal_dsl.program.literals import literal, param_text
from fractal_dsl.stored.manifests import RunParameters


def all_parameters(folder: Path, given: RunParameters) -> dict[str, str]:
    """Every parameter of a run's spec by name, as text. Equal values have equal texts.

    A parameter whose default is computed from others has the text of its expression. If the spec cannot be parsed, only
    the given parameters are known.
    """
    try:
        source = Source(str(folder / given.spec), read_part(folder, given.spec))
    except (OSError, ValueError):
        return dict(given.params)
    files = load(source, Report(source))
    values = {name: _text(param, at) for name, param, at in files.params()}
    return values | {name: _plain(text) for name, text in given.params.items()}


def _text(param: s.Param, source: Source) -> str:
    return "" if param.default is None else _plain(source.slice(param.default.span))


def _plain(text: str) -> str:
    """The text of a literal in one form: ``[16, 32]`` for ``[16,32]``, and ``0.15`` for ``15%``."""
    value = literal(text, "parameter")
    return value if isinstance(value, str) else param_text(value)
