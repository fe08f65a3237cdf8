"""Quick fixes: the help of an error as edits. Each is tried on the text, and offered only if the error goes away."""

from __future__ import annotations

from itertools import islice

from msgspec import Struct

from fractal_dsl.base.errors import help_text
from fractal_dsl.language.diagnostics import Diagnostic
from fractal_dsl.language.source import Source
from fractal_dsl.services.analysis import Analysis, analyse
from fractal_dsl.services.changes import Change, changes
from fractal_dsl.services.places import Edit, Range, offset_at, range_of

_TRIED = 12
"""The largest number of edits to try for one error; each costs a check of the text."""


class Fix(Struct, frozen=True):
    """An edit of the text that removes an error. ``code`` and ``range`` are those of the error."""

    title: str
    edit: Edit
    code: str
    range: Range


def fixes(analysis: Analysis, range: Range) -> list[Fix]:
    """The fixes of errors and warnings that touch a range: for each the likeliest, or all that its help lists."""
    source, result = analysis.source, list[Fix]()
    first, last = offset_at(source, range.start), offset_at(source, range.end)
    for d in analysis.diagnostics:
        if d.source.name != source.name or d.span.end < first or last < d.span.start:
            continue
        tried = list(dict.fromkeys(changes(d, analysis.file)))[:_TRIED]
        cures = (change for change in tried if _cures(analysis, d, change))
        several = (help_text(d.help) or "").startswith("there are")
        for change in cures if several else islice(cures, 1):
            edit = Edit(source.name, range_of(source, change.span), change.text)
            result.append(Fix(change.title, edit, d.code, range_of(source, d.span)))
    return result


def _cures(analysis: Analysis, d: Diagnostic, change: Change) -> bool:
    """Whether a change removes an error, and adds no other error at its place and no syntax error.

    Errors elsewhere may be new: with this error gone, more of the text can be checked."""
    source, known = analysis.source, analysis.diagnostics
    text = source.text[: change.span.start] + change.text + source.text[change.span.end :]
    edited = Source(source.name, text)
    after = analyse(edited, opened=analysis.opened, allow_python=analysis.allow_python).diagnostics
    if sum(map(_is_syntax, after)) > sum(map(_is_syntax, known)) - _is_syntax(d):
        return False
    same = [(e.code, e.message) for e in after].count((d.code, d.message))
    if same >= [(e.code, e.message) for e in known].count((d.code, d.message)):
        return False
    end = change.span.start + len(change.text)
    near = [e for e in after if e.span.start <= end and change.span.start <= e.span.end]
    return {(e.code, e.message) for e in near} <= {(e.code, e.message) for e in known}


def _is_syntax(d: Diagnostic) -> bool:
    return d.code.startswith("E01")
