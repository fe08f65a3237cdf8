"""Types as declared, and values of which only the type is known."""

from __future__ import annotations

from msgspec import Struct

NUMBERS = ("int", "float", "prob")
SCALARS = (*NUMBERS, "bool", "str")
"""The scalar types of a file's parameters."""
NAMED_TYPES = (*SCALARS, "block", "join")
"""The types that a file writes as one word: all but lists."""


class Type(Struct, frozen=True):
    """``int``, ``float``, ``prob``, ``bool``, ``str``, ``block``, ``join``, or a list of ``item``."""

    name: str
    item: Type | None = None

    def __str__(self) -> str:
        return f"[{self.item}]" if self.item else self.name


class Unknown(Struct, frozen=True):
    """An unknown value of a known type (``any`` if unknown, too). ``offset`` relates a level to that of the rule."""

    type: Type
    offset: int | None = None


ANY = Unknown(Type("any"))
ANY_LIST = Unknown(Type("list", ANY.type))


def unknown(type: Type | None) -> Unknown:
    """An unknown value of a type; ``ANY`` if the type is unknown, too."""
    return ANY if type is None or type == ANY.type else Unknown(type)


def innermost(type: Type) -> Type:
    """The type of the innermost elements of a list; else the type itself."""
    return innermost(type.item) if type.item else type
