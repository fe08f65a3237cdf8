"""The error for anything that a user can fix, and suggestions for misspelled names."""

from __future__ import annotations

from collections.abc import Callable, Iterable


class UserError(Exception):
    """Anything a user can fix: a missing file, a wrong setting, a damaged artifact."""


Help = str | None | Callable[[], str | None]
"""What to do about an error, or a function that computes it, called only when the error is shown."""


def help_text(help: Help) -> str | None:
    """The text of a help, or None."""
    return help() if callable(help) else help


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The closest known name, or None if none is close."""
    import difflib  # only after a mistake: it takes a few milliseconds to import

    folded = {k.lower().replace("_", ""): k for k in known}
    close = difflib.get_close_matches(name.lower().replace("_", ""), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def suggestion(name: str, known: Iterable[str], suffix: str = "") -> str | None:
    """A help text that names the nearest known name."""
    hit = nearest(name, known)
    return f"did you mean `{hit}`?{suffix}" if hit else None


def suggesting(name: str, known: Iterable[str], otherwise: str | None = None) -> Help:
    """Help that names the nearest known name, or else ``otherwise``. It is computed when the error is shown."""
    return lambda: suggestion(name, known) or otherwise
