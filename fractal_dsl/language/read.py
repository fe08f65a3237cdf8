"""Read a .frac file, with a message for everything that can go wrong."""

from __future__ import annotations

from pathlib import Path

from fractal_dsl.base.errors import nearest
from fractal_dsl.language.diagnostics import Diagnostic, FracError
from fractal_dsl.language.source import Source, Span


def read(path: str | Path) -> Source:
    """Read a file. Raises FracError if it is missing, unreadable, or not text."""
    try:
        return Source.read(path)
    except UnicodeDecodeError as error:
        message, code, help = f"this is not UTF-8 text: byte {error.start} is invalid", "E0002", None
    except ValueError as error:
        message, code, help = str(error), "E0002", None
    except FileNotFoundError:
        message, code, help = "there is no such file", "E0001", near_file(Path(path))
    except OSError as error:
        message, code, help = f"the file cannot be read: {error.strerror}", "E0001", None
        if Path(path).is_dir():
            help = f"name its files: {Path(path) / '*.frac'}"
    raise FracError([Diagnostic(code, message, Source(str(path), ""), Span(0, 0), help=help)])


def near_file(path: Path) -> str | None:
    """Help for a missing file: suggest a .frac file in the same folder with a similar name."""
    try:
        beside = {f.stem: f.name for f in path.parent.iterdir() if f.suffix == ".frac"}
    except OSError:
        return None
    stem = nearest(path.stem, beside)
    return f"did you mean `{beside[stem]}`?" if stem else None
