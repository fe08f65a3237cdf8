"""Times, sizes, counts and tables as texts."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from fractal_dsl.base.escaping import one_line


def duration(seconds: float) -> str:
    """2:05, or 1:02:05 with hours."""
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{s:02}" if hours else f"{minutes}:{s:02}"


def memory_text(size: int) -> str:
    """Bytes as MB or GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 hidden name``, ``1,200 hidden names``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def percent(share: float) -> str:
    """A share with three digits: ``0.9%``, ``33.3%``."""
    return f"{100 * share:.3g}%"


def shortened(names: Sequence[str], most: int = 6) -> str:
    """Names separated by commas, on one line. A long list keeps its first names and its last."""
    if len(names) > most:
        names = [*names[: most - 1], "…", names[-1]]
    return ", ".join(map(one_line, names))


def display_width(text: str) -> int:
    """The columns of a terminal that a text takes: two for a wide character, none for a combining one."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def aligned(rows: Iterable[Sequence[str]], sides: str = "<>") -> list[str]:
    """The rows of a table as lines, with columns as wide as their widest cells.

    ``sides`` aligns each column to the left, ``<``, or right, ``>``; its last sign applies to all further columns.
    ``rich.table`` could do this, but loading it would add a third to the time of an ``info`` (docs/architecture.md).
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(display_width, column)) for column in zip(*cells, strict=True)]
    sides += sides[-1] * len(widths)
    return ["  ".join(map(_padded, row, sides, widths)).rstrip() for row in cells]


def definitions(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Names, each with a text beside it that wraps at ``width`` columns. Long words are not broken."""
    indent = max([display_width(name) for name, _ in rows], default=0) + 2
    lines: list[str] = []
    for name, text in rows:
        parts = _wrapped(one_line(text), max(20, width - indent)) or [""]
        lines += [_padded(one_line(name), "<", indent) + parts[0], *[" " * indent + part for part in parts[1:]]]
    return lines


_BREAKS = re.compile(r"((?:(?<=[\d%)])|(?<=/s))  +|(?<=;) | (?=\())")


def folded(text: str, width: int) -> list[str]:
    """A line as several of at most ``width`` columns, all but the first indented. It breaks between figures, which two
    spaces separate, before parentheses and behind semicolons; elsewhere only if it must. Long words, such as paths, are
    not broken."""
    lines, parts = [""], ["", *_BREAKS.split(text)]
    for gap, piece in zip(parts[::2], parts[1::2], strict=True):
        if display_width(lines[-1] + gap + piece) <= width:
            lines[-1] += gap + piece
            continue
        first, *rest = _wrapped(piece, max(20, width - 4)) or [""]
        lines += [f"    {first}" if lines[-1] else first, *[f"    {part}" for part in rest]]
        lines = lines if lines[0] else lines[1:]
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _padded(cell: str, side: str, width: int) -> str:
    space = " " * (width - display_width(cell))
    return cell + space if side == "<" else space + cell


def ends_text(ends: Mapping[str, object]) -> str:
    """The types of a net's inputs or outputs, with their names if there are several."""
    return ", ".join([f"{name}: {one}" if len(ends) > 1 else str(one) for name, one in ends.items()])
