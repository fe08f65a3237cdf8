"""msgspec's errors about JSON in plain words."""

from __future__ import annotations

import re

import msgspec

_KINDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}
_MISSING = re.compile(r"Object missing required field `(.+?)`(?: - at `\$\.?(.*)`)?$")
_WRONG = re.compile(r"Expected `(.+?)`, got `(.+?)`(?: - at `\$\.?(.*)`)?$")


def explained(error: msgspec.ValidationError) -> str:
    """The message of an error: ``\\`accuracy\\` must be a number, but is text``."""
    text = str(error)
    if missing := _MISSING.match(text):
        return f"{_place(missing[2])} has no `{missing[1]}`"
    if wrong := _WRONG.match(text):
        expected = " or ".join([_KINDS.get(kind, kind) for kind in wrong[1].split(" | ")])
        return f"{_place(wrong[3])} must be {expected}, but is {_KINDS.get(wrong[2], wrong[2])}"
    return text[:1].lower() + text[1:]


def _place(path: str | None) -> str:
    return f"`{path}`" if path else "it"
