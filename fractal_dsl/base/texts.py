"""Times, sizes and counts as texts."""

from __future__ import annotations

from collections.abc import Sequence

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


def shortened(names: Sequence[str], most: int = 6) -> str:
    """Names separated by commas, on one line. A long list keeps its first names and its last."""
    if len(names) > most:
        names = [*names[: most - 1], "…", names[-1]]
    return ", ".join(map(one_line, names))
