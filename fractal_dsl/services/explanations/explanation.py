"""The explanation of one code."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import force_setattr


class Explanation(Struct, frozen=True):
    """The explanation of a code. ``wrong`` is a spec with this code only; ``right`` has no errors and warnings.

    If the code comes from a command, ``command`` is true, and ``wrong`` and ``right`` are command lines. ``files`` are
    files beside the spec. ``error`` is the output, if it depends on a command or on files.
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
