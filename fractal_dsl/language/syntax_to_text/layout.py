"""A small pretty printer: documents of text and possible line breaks (Wadler, *A prettier printer*, 1998), with
comments that stay between the words where they stand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

INDENT = 4


class Line(Struct, frozen=True):
    """A line break; where its group fits on a line, ``flat`` instead."""

    flat: str = " "


class Remarks(Struct, frozen=True):
    """The comments between two words: one behind the first word on its line, others on lines of their own.

    ``closing``: the second word closes a bracket, and the comments are inside.
    """

    trailing: str
    own: tuple[str, ...]
    closing: bool


class Nest(Struct, frozen=True):
    """Lines within are indented by four more columns."""

    body: Doc


class Group(Struct, frozen=True):
    """Laid out on one line if that fits and no comment is within; else its own lines all break.

    ``pending``: it ends in a comment, so what follows must break.
    """

    body: Doc
    broken: bool = False
    pending: bool = False


class Fill(Struct, frozen=True):
    """Texts with a comma between, as many on a line as fit."""

    items: tuple[str, ...]


class Hug(Struct, frozen=True):
    """What stands behind ``=`` on its line, for it has brackets to break in; below if a comment is between."""

    body: Doc


class Infix(Struct, frozen=True):
    """The sign between two operands: it begins a line, so comments behind it go before it."""

    text: str


class Opening(Struct, frozen=True):
    """The parenthesis at an offset of the source; others around the same expression are left out."""

    at: int


Doc = str | Line | Remarks | Nest | Group | Fill | Hug | Infix | Opening | tuple["Doc", ...]

SOFT = Line("")
SPACE = Line()


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


def bracketed(opening: Doc, body: Doc, closing: str) -> Doc:
    """A body in its brackets, on the same line or indented below."""
    return group(opening, Nest((SOFT, body)), SOFT, closing)


def breaks(doc: Doc) -> bool:
    """Whether a document and what follows it cannot stand on one line."""
    return any(_state(doc))


def _state(doc: Doc) -> tuple[bool, bool]:
    """Whether a document has a comment within, and whether it ends in one."""
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
    """The text of a document in lines of at most ``width`` columns, where its breaks allow that."""
    out: list[str] = []
    column = 0
    remarks: Remarks | None = None

    def lines(indent: int, own: Iterable[str], at: int) -> None:
        """The comments that wait, then a new line."""
        nonlocal column, remarks
        out.extend(f"\n{' ' * indent}{text}" for text in own)
        out.append("\n" + " " * at)
        column, remarks = at, None

    stack: list[tuple[int, bool, Doc]] = [(0, False, doc)]
    while stack:
        indent, flat, at = stack.pop()
        match at:
            case str():
                if remarks is not None:  # there is no break here, so the line goes on below, indented
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
            case Opening():
                stack.append((indent, flat, "("))
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
                todo.append((flat, ", ".join(at.items)))
            case Line() if flat:
                room -= len(at.flat)
            case Line() | Remarks():
                return True
            case Hug():
                todo += [(flat, at.body), (flat, " ")]
            case Infix(text=text):
                room -= len(text)
            case Opening():
                room -= 1
    return room >= 0


def _filled(fill: Fill, room: int) -> list[Doc]:
    """Items with breaks where a line is full."""
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
