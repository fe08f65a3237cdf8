"""Help for the editor of the page: the services of the language server, as plain data.

Places are ``{"line", "character"}``, both from 0, in UTF-16 code units; edits are ``{"start", "end", "text"}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from fractal_dsl.base.errors import UserError
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.language.source import Source
from fractal_dsl.play.asked import SpecText
from fractal_dsl.services import completion, explanations, fixes, formatting, hover, navigate
from fractal_dsl.services.analysis import Analysis, analyse
from fractal_dsl.services.places import Edit, Point, Range


def complete(text: SpecText, asked: Mapping[str, Any], allow_python: bool) -> dict[str, Any]:
    """What can be written at ``point``."""
    known = completion.completions(_analysis(text, allow_python), _point(asked["point"]))
    return {"completions": msgspec.to_builtins(known)}


def about(text: SpecText, asked: Mapping[str, Any], allow_python: bool) -> dict[str, Any]:
    """What is known about the name at ``point``, in Markdown."""
    known = hover.hover(_analysis(text, allow_python), _point(asked["point"]))
    return {"hover": msgspec.to_builtins(known)}


def definition(text: SpecText, asked: Mapping[str, Any], allow_python: bool) -> dict[str, Any]:
    """The document and the range that declare the name at ``point``; the document is None if it is the text itself."""
    place = navigate.definition(_analysis(text, allow_python), _point(asked["point"]))
    if place is None:
        return {"definition": None}
    file = Path(place.file)
    library = file.parent.name == "std" and file.parent.parent.name == "language"
    other = f"std:{file.stem}" if library else place.file
    return {
        "definition": {
            "document": None if place.file == text.source.name else other,
            **msgspec.to_builtins(place.range),
        }
    }


def quick_fixes(text: SpecText, asked: Mapping[str, Any], allow_python: bool) -> dict[str, Any]:
    """The edits that remove the errors between ``start`` and ``end``."""
    span = Range(_point(asked["start"]), _point(asked["end"]))
    known = fixes.fixes(_analysis(text, allow_python), span)
    return {"fixes": [{"title": fix.title, "code": fix.code, "edits": _edits([fix.edit])} for fix in known]}


def formatted(text: SpecText, asked: Mapping[str, Any], allow_python: bool) -> dict[str, Any]:
    """The edits that format the text."""
    try:
        return {"edits": _edits(formatting.format_edits(text.source))}
    except FracError:
        raise UserError("a text with syntax errors cannot be formatted") from None


def renamed(text: SpecText, asked: Mapping[str, Any], allow_python: bool) -> dict[str, Any]:
    """The edits that give the name at ``point`` the name ``to``; without ``to``, the range of the name at ``point``."""
    analysis, point = _analysis(text, allow_python), _point(asked["point"])
    if asked.get("to") is None:
        return {"name": msgspec.to_builtins(navigate.renameable(analysis, point))}
    edits = navigate.rename(analysis, point, str(asked["to"]))
    others = sorted({Path(edit.file).name for edit in edits if edit.file != text.source.name})
    if others:
        raise UserError(f"the name is also used in {', '.join(others)}, which this page cannot change: rename it there")
    return {"edits": _edits(edits)}


def explained(text: SpecText, asked: Mapping[str, Any], allow_python: bool) -> dict[str, Any]:
    """What ``fractal-dsl explain`` prints about the error with a ``code``."""
    return {"text": explanations.explain(str(asked["code"]))}


def _analysis(text: SpecText, allow_python: bool) -> Analysis:
    return _analysed(text.source.name, text.source.text, allow_python)


@lru_cache(maxsize=2)
def _analysed(name: str, text: str, allow_python: bool) -> Analysis:
    return analyse(Source(name, text), allow_python=allow_python)


def _point(given: Mapping[str, Any]) -> Point:
    return Point(int(given["line"]), int(given["character"]))


def _edits(edits: Iterable[Edit]) -> list[dict[str, Any]]:
    return [{**msgspec.to_builtins(edit.range), "text": edit.text} for edit in edits]
