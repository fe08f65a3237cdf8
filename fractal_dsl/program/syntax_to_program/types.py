"""Types as declarations name them, and the values of which only the type is known."""

from __future__ import annotations

from msgspec import Struct

NUMBERS = ("int", "float", "prob")
PLAIN = (*NUMBERS, "bool", "str")
"""The types of a file's parameters, besides lists of them."""
SCALARS = (*PLAIN, "block", "join")


class Type(Struct, frozen=True):
    """``int``, ``float``, ``prob``, ``bool``, ``str``, ``block``, ``join``, or a list of ``item``."""

    name: str
    item: Type | None = None

    def __str__(self) -> str:
        return f"[{self.item}]" if self.item else self.name


class Unknown(Struct, frozen=True):
    """A value of a known type (``any``: of no known type). ``offset`` relates a level to the rule's own."""

    type: Type
    offset: int | None = None


ANY = Unknown(Type("any"))
ANY_LIST = Unknown(Type("list", ANY.type))


def unknown(type: Type | None) -> Unknown:
    """A value of a type, ``ANY`` itself where the type is not known either."""
    return ANY if type is None or type == ANY.type else Unknown(type)


def innermost(type: Type) -> Type:
    """The type of the elements of a list, and of the lists in it; else the type itself."""
    return innermost(type.item) if type.item else type
