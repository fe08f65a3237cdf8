"""Where a name is declared and used, and how to rename it everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from fractal_dsl.base.errors import UserError
from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.imports import load
from fractal_dsl.language.source import Source, Span
from fractal_dsl.language.text_to_syntax.words import KEYWORDS
from fractal_dsl.services.analysis import Analysis
from fractal_dsl.services.names import NameIndex
from fractal_dsl.services.places import Edit, FileRange, Point, Range, edited, offset_at, place_of, range_of
from fractal_dsl.services.symbols import Symbol

_NAME = re.compile(r"[^\W\d]\w*")
_LIBRARY = Path(__file__).resolve().parents[1] / "language" / "std"


def definition(analysis: Analysis, point: Point) -> FileRange | None:
    """Where the name at a point is declared, or the file that a path imports."""
    offset = offset_at(analysis.source, point)
    for decl in analysis.file.decls:
        if isinstance(decl, s.Import | s.FromImport) and decl.path.span.start <= offset < decl.path.span.end:
            target = analysis.examined.files.targets.get(decl.path.span)
            return None if target is None else _in_file(target.source, Span(target.source.base, target.source.base))
    symbol = _symbol(analysis, offset)
    return None if symbol is None else _in_file(symbol.declared.source, symbol.declared.span)


def file_path(source: Source) -> str:
    """The path of a source; files of the standard library lie in the package."""
    stem = source.name.removeprefix("std:")
    return str(_LIBRARY / f"{stem}.frac") if stem != source.name else source.name


def _in_file(source: Source, span: Span) -> FileRange:
    place = place_of(source, span)
    return FileRange(file_path(source), place.range)


def _symbol(analysis: Analysis, offset: int) -> Symbol | None:
    use = analysis.names.at(offset)
    return use.of if use is not None and isinstance(use.of, Symbol) else None


def references(analysis: Analysis, point: Point, others: Iterable[Analysis] = ()) -> list[FileRange]:
    """Every use of the name at a point, its declaration included: in its file, in imports, and in ``others``."""
    symbol = _symbol(analysis, offset_at(analysis.source, point))
    if symbol is None:
        return []
    return [FileRange(key[0], range) for key, range in _uses(symbol, [analysis, *others]).items()]


def _uses(symbol: Symbol, analyses: Iterable[Analysis]) -> dict[tuple[str, int], Range]:
    """The ranges of a symbol's uses in several texts and their imports, by file and offset."""
    wanted, result = (file_path(symbol.source), symbol.key[1]), dict[tuple[str, int], Range]()
    for analysis in analyses:
        sources = analysis.examined.report.sources
        for use in analysis.names.uses:
            if isinstance(use.of, Symbol) and (file_path(use.of.source), use.of.key[1]) == wanted:
                source = sources.at(use.span)
                result.setdefault((file_path(source), use.span.start - source.base), range_of(source, use.span))
    return result


def renameable(analysis: Analysis, point: Point) -> Range:
    """The range of the name at a point. Raises UserError if it cannot be renamed."""
    offset = offset_at(analysis.source, point)
    use = analysis.names.at(offset)
    if use is None or not isinstance(use.of, Symbol):
        raise UserError("there is no declared name here" if use is None else "built-in names cannot be renamed")
    if use.of.source.name.startswith("std:"):
        raise UserError(f"`{use.of.name}` belongs to the standard library, which cannot be changed")
    return range_of(analysis.source, use.span)


def rename(analysis: Analysis, point: Point, name: str, others: Iterable[Analysis] = ()) -> list[Edit]:
    """The edits that give the name at a point another name everywhere.

    Raises UserError if it cannot be renamed, if ``name`` is no name, or if a use of it would then mean something else.
    """
    renameable(analysis, point)
    if not _NAME.fullmatch(name) or name in KEYWORDS:
        raise UserError(f"`{name}` is a keyword" if name in KEYWORDS else f"`{name}` is not a name")
    symbol = _symbol(analysis, offset_at(analysis.source, point))
    assert symbol is not None
    analyses = [analysis, *others]
    edits = [Edit(file, range, name) for (file, _), range in _uses(symbol, analyses).items()]
    texts = edited(
        {file_path(source): source for each in analyses for source in each.examined.report.sources.all}, edits
    )
    opened = {Path(file).resolve(): text for file, text in texts.items()}
    for each in analyses:
        edited_source = Source(each.source.name, texts[file_path(each.source)])
        files = load(edited_source, Report(edited_source), {**each.opened, **opened})
        if _meaning(NameIndex(files)) != _meaning(each.names):
            raise UserError(f"`{name}` already means something else in {Path(each.source.name).name}")
    return edits


def _meaning(names: NameIndex) -> list[object]:
    """What each name refers to, in order, without the names of symbols: a renaming does not change it."""
    numbers: dict[tuple[str, int], int] = {}
    return [
        numbers.setdefault(use.of.key, len(numbers)) if isinstance(use.of, Symbol) else use.of for use in names.uses
    ]


def word_at(analysis: Analysis, point: Point) -> str:
    """The declared name at a point, as other files may write it; empty if there is none."""
    symbol = _symbol(analysis, offset_at(analysis.source, point))
    return symbol.declared.name if symbol else ""
