"""A small pretty printer: documents of text and optional line breaks (Wadler, *A prettier printer*, 1998), with
comments that stay between their words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

INDENT = 4


class Line(Struct, frozen=True):
    """A line break, or ``flat`` if its group fits on one line."""

    flat: str = " "


class Remarks(Struct, frozen=True):
    """The comments between two words: ``trailing`` on the line of the first word, ``own`` on lines of their own.

    ``closing`` tells whether the second word closes a bracket, with the comments inside it.
    """

    trailing: str
    own: tuple[str, ...]
    closing: bool


class Nest(Struct, frozen=True):
    """Indents the lines of its body by four columns."""

    body: Doc


class Group(Struct, frozen=True):
    """Laid out on one line if it fits and contains no comment; else all its own lines break.

    ``broken``: it contains a comment. ``pending``: it ends in a comment, so the next line must break.
    """

    body: Doc
    broken: bool = False
    pending: bool = False


class Fill(Struct, frozen=True):
    """Comma-separated texts, as many on each line as fit."""

    items: tuple[str, ...]


class Hug(Struct, frozen=True):
    """The right side of ``=``, kept on its line because it can break inside its brackets; below if a comment precedes
    it."""

    body: Doc


class Infix(Struct, frozen=True):
    """An infix operator. It begins a line, so comments after it move before it."""

    text: str


class Paren(Struct, frozen=True):
    """The opening parenthesis at an offset of the source; other parentheses around the expression are dropped."""

    at: int


Doc = str | Line | Remarks | Nest | Group | Fill | Hug | Infix | Paren | tuple["Doc", ...]

SOFT = Line("")
SPACE = Line()


def group(*parts: Doc) -> Doc:
    """A group of parts: on one line, or broken at each of its lines."""
    return Group(parts, *_state(parts))


def join(separator: Doc, docs: Iterable[Doc]) -> Doc:
    """Documents with a separator between them."""
    result: list[Doc] = []
    for doc in docs:
        if result:
            result.append(separator)
        result.append(doc)
    return tuple(result)


def bracketed(opening: Doc, body: Doc, closing: str) -> Doc:
    """A body in brackets, on the same line or indented below."""
    return group(opening, Nest((SOFT, body)), SOFT, closing)


def breaks(doc: Doc) -> bool:
    """Whether comments keep a document and what follows it from sharing one line."""
    return any(_state(doc))


def _state(doc: Doc) -> tuple[bool, bool]:
    """Whether a document contains a comment before its end, and whether it ends in one."""
    match doc:
        case Remarks():
            return False, True
        case Nest():
            return _state(doc.body)
        case Group():
            return doc.broken, doc.pending
        case tuple():
            broken = pending = False
            for part in doc:
                if part not in ("", ()):
                    inner, ends = _state(part)
                    broken, pending = broken or inner or pending, ends
            return broken, pending
        case _:
            return False, False


def layout(doc: Doc, width: int) -> str:
    """The text of a document in lines of at most ``width`` columns, as far as its breaks allow."""
    out: list[str] = []
    column = 0
    remarks: Remarks | None = None

    def lines(indent: int, own: Iterable[str], at: int) -> None:
        """Write the pending comments, then start a new line."""
        nonlocal column, remarks
        out.extend(f"\n{' ' * indent}{text}" for text in own)
        out.append("\n" + " " * at)
        column, remarks = at, None

    stack: list[tuple[int, bool, Doc]] = [(0, False, doc)]
    while stack:
        indent, flat, at = stack.pop()
        match at:
            case str():
                if remarks is not None:  # a comment without a line break: the line continues below, indented
                    at = at.lstrip()
                    if not at:
                        continue
                    lines(indent + INDENT, remarks.own, indent if remarks.closing else indent + INDENT)
                out.append(at)
                column += len(at)
            case tuple():
                stack += [(indent, flat, part) for part in reversed(at)]
            case Nest():
                stack.append((indent + INDENT, flat, at.body))
            case Group():
                fits = not at.broken and _fits(at.body, stack, width - column)
                stack.append((indent, flat or fits, at.body))
            case Remarks():
                out += [f"  {at.trailing}"] if at.trailing else []
                remarks = at
            case Line() if remarks is not None:
                lines(indent + INDENT if remarks.closing else indent, remarks.own, indent)
            case Line() if flat:
                out.append(at.flat)
                column += len(at.flat)
            case Line():
                lines(indent, (), indent)
            case Fill() if flat:
                stack.append((indent, flat, ", ".join(at.items)))
            case Fill():
                stack += [(indent, False, part) for part in reversed(_filled(at, width - indent))]
            case Hug():
                stack += [(indent, flat, at.body), (indent, flat, " ")]
            case Infix(text=text):
                stack.append((indent, flat, text))
            case Paren():
                stack.append((indent, flat, "("))
    return "\n".join(line.rstrip() for line in "".join(out).split("\n"))


def _fits(doc: Doc, rest: Sequence[tuple[int, bool, Doc]], room: int) -> bool:
    """Whether a document laid out flat, with what follows it up to the next break, fits into ``room`` columns."""
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
                todo.append((flat, ", ".join(at.items)))
            case Line() if flat:
                room -= len(at.flat)
            case Line() | Remarks():
                return True
            case Hug():
                todo += [(flat, at.body), (flat, " ")]
            case Infix(text=text):
                room -= len(text)
            case Paren():
                room -= 1
    return room >= 0


def _filled(fill: Fill, room: int) -> list[Doc]:
    """Items with a line break wherever a line is full."""
    parts: list[Doc] = []
    used = 0
    for i, item in enumerate(fill.items):
        if i:
            wraps = used + len(item) + 3 > room
            parts += [",", SPACE if wraps else " "]
            used = 0 if wraps else used + 2
        parts.append(item)
        used += len(item)
    return parts
