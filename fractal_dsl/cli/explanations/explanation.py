"""The explanation of one code."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import force_setattr


class Explanation(Struct, frozen=True):
    """``wrong`` is a spec that gives the code and no other, ``right`` one without errors and warnings.

    Where the code comes from a command or needs other files, ``error`` is what is printed, ``command`` what to
    type instead of a spec, and ``files`` what lies beside it.
    """

    meaning: str
    wrong: str
    right: str
    error: str = ""
    command: bool = False
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])

    def __post_init__(self) -> None:
        for name in ("wrong", "right"):
            force_setattr(self, name, textwrap.dedent(getattr(self, name)).strip("\n"))
