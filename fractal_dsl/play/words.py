"""The words that the editor colours, taken from the language's own lists."""

from __future__ import annotations

from fractal_dsl.language.text_to_syntax.parser import lark
from fractal_dsl.language.text_to_syntax.words import DECLARATIONS, KEYWORDS
from fractal_dsl.ops import JOINS, LAYERS
from fractal_dsl.program.syntax_to_program.types import SCALARS
from fractal_dsl.program.syntax_to_program.values import BUILTINS

_OTHER_TYPES = ("block", "f32", "i64")
_PATTERNS = ("COMMENT", "STRING", "PROB", "FLOAT", "INT")
"""The terminals other than fixed texts and names, in matching order."""


def words() -> dict[str, object]:
    """Words by kind, and patterns by terminal, which mean the same in JavaScript and Python."""
    patterns = {t.name: t.pattern.to_regexp() for t in lark().terminals}
    return {
        "declarations": DECLARATIONS,
        "keywords": [word for word in KEYWORDS if word not in DECLARATIONS],
        "types": [*SCALARS, *_OTHER_TYPES],
        "layers": [*LAYERS, *JOINS, *BUILTINS],
        "patterns": {kind: patterns[kind] for kind in _PATTERNS},
    }
