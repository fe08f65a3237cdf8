"""What each code means, with a spec that causes it and one that does not: ``fractal-dsl explain E0401``.

In: a code. Out: the text that explains it.
Not imported here: torch, and the commands of ``cli``, which import this folder.

To explain a new code, add an entry to the module of its group. ``tests/test_explain.py`` fails while a code has no
entry, and checks each example.
"""

from __future__ import annotations

import textwrap

from fractal_dsl.base.errors import UserError, nearest
from fractal_dsl.language.diagnostics import CODES, FracError
from fractal_dsl.language.source import Source
from fractal_dsl.pipeline import checked
from fractal_dsl.services.explanations.explanation import Explanation
from fractal_dsl.services.explanations.files import FILES
from fractal_dsl.services.explanations.names import NAMES
from fractal_dsl.services.explanations.nets import NETS
from fractal_dsl.services.explanations.rules import RULES
from fractal_dsl.services.explanations.text import TEXT

__all__ = ["EXPLANATIONS", "NAME", "Explanation", "explain", "printed"]

NAME = "spec.frac"
EXPLANATIONS = dict(sorted((FILES | TEXT | NAMES | RULES | NETS).items()))
"""Explanations by code."""


def explain(code: str) -> str:
    """The text that explains a code, in upper or lower case. Raises UserError if there is no such code."""
    code = code.strip().upper()
    if code not in EXPLANATIONS:
        if not code:
            raise UserError("give the code of an error or a warning, such as E0501")
        near = nearest(code, EXPLANATIONS)
        errors, warnings = ([c for c in EXPLANATIONS if c.startswith(kind)] for kind in "EW")
        known = f"errors have the codes {min(errors)} to {max(errors)}, warnings {', '.join(warnings)}"
        help = f"did you mean {near}?" if near else known
        raise UserError(f"there is no code {code}; {help}")
    entry = EXPLANATIONS[code]
    beside = [(f"{name} beside it", text.decode()) for name, text in entry.files.items() if name.endswith(".frac")]
    parts = [
        f"{code}: {CODES[code]}",
        textwrap.fill(" ".join(entry.meaning.split()), 80),
        *_part("Wrong", entry.wrong),
        *(line for title, text in beside if not entry.command for line in _part(title, text)),
        *_part("Output", entry.error or printed(entry.wrong)),
        *_part("Right", entry.right),
    ]
    return "\n\n".join(parts)


def printed(text: str) -> str:
    """The errors of a spec, or else its warnings, as ``check`` prints them. Empty if there are none."""
    try:
        warnings = checked(Source(NAME, text)).warnings
    except FracError as error:
        return str(error)
    return "\n\n".join([w.text() for w in warnings])


def _part(title: str, text: str) -> tuple[str, str]:
    return f"{title}:", textwrap.indent(text.rstrip("\n"), "    ")
