"""A small pretty printer: documents of text and possible line breaks (Wadler, *A prettier printer*, 1998;
the line suffixes that comments need are those of the tool Prettier)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """A line break; where its group fits on a line, ``flat`` instead. ``hard``: always a break."""

    flat: str = " "
    hard: bool = False


@dataclass(frozen=True, slots=True)
class Suffix:
    """A comment: it goes to the end of whatever line this stands on, and breaks the groups around it."""

    text: str


@dataclass(frozen=True, slots=True)
class Nest:
    """Lines within are indented by four more columns."""

    body: Doc


@dataclass(frozen=True, slots=True)
class Group:
    """Laid out on one line if that fits and holds no hard line; else its own lines all break.

    ``pending``: it ends in a suffix, so what follows must break.
    """

    body: Doc
    broken: bool
    pending: bool


@dataclass(frozen=True, slots=True)
class Fill:
    """Items with a comma between, as many on a line as fit."""

    items: tuple[Doc, ...]


Doc = str | Line | Suffix | Nest | Group | Fill | tuple["Doc", ...]

SOFT = Line("")
SPACE = Line()
HARD = Line(hard=True)


def group(*parts: Doc) -> Doc:
    """Parts that are laid out on one line, or broken at each of their lines."""
    return Group(parts, *_state(parts))


def join(separator: Doc, docs: Iterable[Doc]) -> Doc:
    """Docs with a separator between."""
    result: list[Doc] = []
    for doc in docs:
        if result:
            result.append(separator)
        result.append(doc)
    return tuple(result)


def breaks(doc: Doc) -> bool:
    """Whether a document and what follows it cannot stand on one line."""
    return any(_state(doc))


def _state(doc: Doc) -> tuple[bool, bool]:
    """Whether a document holds a break that must be, and whether it ends in a suffix."""
    match doc:
        case Line():
            return doc.hard, False
        case Suffix():
            return False, True
        case Nest():
            return _state(doc.body)
        case Group():
            return doc.broken, doc.pending
        case Fill():
            return _state(doc.items)
        case tuple():
            broken = pending = False
            for part in doc:
                if part not in ("", ()):
                    inner, ends = _state(part)
                    broken, pending = broken or inner or pending, ends
            return broken, pending
        case str():
            return False, False


def layout(doc: Doc, width: int) -> str:
    """The text of a document in lines of at most ``width`` columns, where its breaks allow that."""
    out: list[str] = []
    column = 0
    suffixes: list[str] = []
    stack: list[tuple[int, bool, Doc]] = [(0, False, doc)]
    while stack:
        indent, flat, at = stack.pop()
        match at:
            case str():
                out.append(at)
                column += len(at)
            case tuple():
                stack += [(indent, flat, part) for part in reversed(at)]
            case Nest():
                stack.append((indent + 4, flat, at.body))
            case Group():
                fits = not at.broken and _fits(at.body, stack, width - column)
                stack.append((indent, flat or fits, at.body))
            case Suffix():
                suffixes.append(at.text)
            case Line() if flat and not at.hard:
                out.append(at.flat)
                column += len(at.flat)
            case Line():
                out += ["  " + s for s in suffixes]
                suffixes.clear()
                out.append("\n" + " " * indent)
                column = indent
            case Fill():
                stack += [(indent, flat, part) for part in reversed(_filled(at, width - indent))]
    out += ["  " + s for s in suffixes]
    return "\n".join(line.rstrip() for line in "".join(out).split("\n"))


def _fits(doc: Doc, rest: Sequence[tuple[int, bool, Doc]], room: int) -> bool:
    """Whether a document, laid flat, and what follows it up to the next break fit into the room."""
    todo: list[tuple[bool, Doc]] = [(flat, d) for _, flat, d in rest] + [(True, doc)]
    while room >= 0 and todo:
        flat, at = todo.pop()
        match at:
            case str():
                room -= len(at)
            case tuple():
                todo += [(flat, part) for part in reversed(at)]
            case Nest():
                todo.append((flat, at.body))
            case Group():
                todo.append((flat and not at.broken, at.body))
            case Fill():
                todo.append((flat, join((",", SPACE), at.items)))
            case Line() if not flat or at.hard:
                return True
            case Line():
                room -= len(at.flat)
            case Suffix():
                pass
    return room >= 0


def _filled(fill: Fill, room: int) -> list[Doc]:
    """Items with breaks where a line is full. Items are texts, or they break by themselves."""
    parts: list[Doc] = []
    used = 0
    for i, item in enumerate(fill.items):
        size = len(item) if isinstance(item, str) else room
        if i:
            wraps = used + size + 3 > room
            parts += [",", HARD if wraps else " "]
            used = 0 if wraps else used + 2
        parts.append(item)
        used += size
    return parts
