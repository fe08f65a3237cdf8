"""Escape untrusted text for another language: one function for each target, used everywhere.

File names, parameters, tags and class names are untrusted. In each target they must stay text, and never become a
statement, an element, an attribute or a terminal command. Invisible characters, and characters that change how others
are read (control characters, bidi controls, bytes that are not UTF-8), become escapes: ``\\x1b``, ``\\u202e``.
"""

from __future__ import annotations

import json
import os
import re

_HIDDEN = (
    r"\x00-\x1f\x7f-\x9f\xad"  # control characters, the soft hyphen
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidi controls
    r"\u2028\u2029\ufeff\ufff9-\ufffb"  # line separators, invisible marks
    r"\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff\U000e0000-\U000e007f"  # surrogates, noncharacters, tags
)
_LINE = re.compile(f"[{_HIDDEN}]")
_TEXT = re.compile(rf"(?![\n\t])[{_HIDDEN}]")
_PYTHON = re.compile(rf'\\|"(?="|\Z)|{_TEXT.pattern}')
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return _NAMED.get(char) or _numbered(code)


def _numbered(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def one_line(text: str) -> str:
    """A name or value for use within one line."""
    return _LINE.sub(_escape, text)


def terminal(text: str) -> str:
    """A text for a terminal or a log. Line feeds and tabs stay."""
    return _TEXT.sub(_escape, text)


def docstring(text: str) -> str:
    """A Python literal in triple quotes whose value is exactly the text."""

    def literal(match: re.Match[str]) -> str:
        return f"\\{match[0]}" if match[0] in '\\"' else _numbered(ord(match[0]))

    return f'"""{_PYTHON.sub(literal, text)}"""'


def markup(text: str) -> str:
    """Text for HTML or SVG, between tags or in a quoted attribute."""
    from html import escape  # loads a table of all entities, which `check` does not need

    return escape(terminal(text))


def json_in_html(value: object) -> str:
    """JSON that is safe inside a script element of an HTML page."""
    text = json.dumps(value)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def escaped_for_dot(text: str, *, tooltip: bool = False) -> str:
    """A value for the graphviz package, which quotes it. A line feed centres the line before it, a vertical tab aligns
    it left.

    Graphviz replaces escapes such as ``\\N`` and entities such as ``&lt;``; in a tooltip it replaces escapes twice.
    """
    from graphviz import nohtml  # only pictures need it

    lines = {"\n": "\\n", "\v": "\\l"}
    parts = re.split(r"([\n\v])", text)
    backslash = "\\" * (4 if tooltip else 2)
    return nohtml("".join([lines.get(p) or _dot(one_line(p), backslash) for p in parts]))


def _dot(text: str, backslash: str) -> str:
    return text.replace("&", "&amp;").replace("\\", backslash)


def plot_text(text: str) -> str:
    """A label for matplotlib, which reads text between dollar signs as mathematics and hides ``_names``."""
    text = one_line(text).replace("$", "\\$")
    return f" {text}" if text.startswith("_") else text


def command(*words: str) -> str:
    """A shell command to copy. Each word stays one word; unprintable ones use ``$'…'``, which Bash and zsh read."""
    import shlex  # few commands print others

    return " ".join([_dollar(w) if _LINE.search(w) else shlex.quote(w) for w in words])


def _dollar(word: str) -> str:
    def written(match: re.Match[str]) -> str:
        if match[0] in "\\'":
            return f"\\{match[0]}"
        return "".join([f"\\x{byte:02x}" for byte in os.fsencode(match[0])])

    return "$'" + re.sub(rf"['\\]|{_LINE.pattern}", written, word) + "'"
