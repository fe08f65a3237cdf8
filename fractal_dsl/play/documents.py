"""The texts that the page can open: the given file, examples, the standard library. Only the first is written."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.files import rewrite_text
from fractal_dsl.language.read import read
from fractal_dsl.language.source import MAX_SOURCE_BYTES, Source
from fractal_dsl.stored.kinds import owner

_PACKAGE = Path(__file__).resolve().parents[1]
_NEW = "new"
_GIVEN = "given"
SHARED = "shared"
"""The key of a text that came with a link. It is not listed, and may not load Python code."""


@dataclass(frozen=True)
class Document:
    """A text to open. ``path`` is its file; None stands for the text of a new file."""

    title: str
    group: str
    path: Path | None


class Documents:
    """The documents by key. A page names them by key, never by path."""

    def __init__(self, given: Path | None) -> None:
        """``given`` is the file that may be written, unless it is part of a compiled folder or a run.

        Raises FracError if it cannot be read.
        """
        self.writable = given is not None and owner(given) is None
        self.known = {_NEW: Document("a new net", "", None), SHARED: Document("a shared net", "", None)}
        if given is not None:
            read(given)
            self.known = {_GIVEN: Document(given.name, "", given), **self.known}
        for title, path in _examples():
            self.known[f"examples/{title}"] = Document(title, "examples", _short(path))
        for path in sorted((_PACKAGE / "language" / "std").glob("*.frac")):
            self.known[f"std:{path.stem}"] = Document(f"std:{path.stem}", "the standard library", _short(path))

    def listed(self) -> list[dict[str, str]]:
        """The documents for a picker. The page opens the first one."""
        return [{"key": key, "title": d.title, "group": d.group} for key, d in self.known.items() if key != SHARED]

    def opened(self, key: str) -> dict[str, Any]:
        """A document's text and origin. Raises FracError if it cannot be read, UserError for an unknown key.

        ``digest`` identifies the state of the file for ``save``; None if it cannot be saved.
        """
        document = self._document(key)
        if document.path is None:
            text = Path(__file__).with_name("new.frac").read_text("utf-8")
            return {"text": text, "name": self.name(key), "digest": None}
        saved = key == _GIVEN and self.writable
        # taken before the text is read, so that ``save`` notices a change in between
        digest = _digest(document.path) if saved else None
        text = read(document.path).text.replace("\r\n", "\n")
        return {"text": text, "name": self.name(key), "digest": digest}

    def name(self, key: str) -> str:
        """The name under which messages show a document."""
        path = self._document(key).path
        return str(path) if path else f"{key}.frac"

    def source(self, key: str, text: str) -> Source:
        """A text as the content of a document, so that imports are relative to its file.

        Raises UserError for a text that no .frac file can have.
        """
        path = self._document(key).path
        return Source(str(path) if path else "<text>", _sound(text))

    def save(self, text: str, digest: str) -> str:
        """Write the given file with its line endings, and return its new digest.

        Raises UserError if the file has changed since ``digest``, or cannot be written.
        """
        path = self._document(_GIVEN).path
        assert path is not None
        if not self.writable:
            raise UserError(f"{path} is part of a folder that must stay as it was written")
        text = _sound(text)
        if _digest(path) != digest:
            raise UserError(f"{path} has changed on disk since it was opened here, so it was not saved")
        try:
            ends = path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from None
        rewrite_text(path, text.replace("\n", "\r\n") if b"\r\n" in ends else text)
        return _digest(path)

    def _document(self, key: str) -> Document:
        if key not in self.known:
            raise UserError("there is no such document")
        return self.known[key]


def _sound(text: str) -> str:
    """A text that a file can have. Raises UserError for a text that no .frac file can have."""
    data = text.encode("utf-8", "replace")  # a lone surrogate becomes a question mark
    if len(data) > MAX_SOURCE_BYTES:
        raise UserError(f"the text has {len(data):,} bytes; the limit is {MAX_SOURCE_BYTES:,}")
    if b"\0" in data:
        raise UserError("the text contains a NUL byte; a .frac file is text")
    return data.decode("utf-8")


def _digest(path: Path) -> str:
    """The SHA-256 of a file; empty if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _examples() -> list[tuple[str, Path]]:
    """The examples by name: inside an installed package, or beside it in a checkout."""
    checkout = _PACKAGE.parent
    places = [_PACKAGE / "examples"]
    if (checkout / "grammar" / "frac.lark").is_file():
        places.append(checkout / "examples")
    return [(path.relative_to(place).as_posix(), path) for place in places for path in sorted(place.rglob("*.frac"))]


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
