"""Highlighting: words by kind, for editors, and a lexer for Pygments, which finds it by its entry point."""

from __future__ import annotations

from typing import Any, ClassVar

from pygments.lexer import RegexLexer, bygroups, words  # pyright: ignore[reportUnknownVariableType]
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Whitespace

from fractal_dsl.language.text_to_syntax.words import DECLARATIONS, KEYWORDS
from fractal_dsl.ops import JOINS, LAYERS
from fractal_dsl.program.syntax_to_program.types import NAMED_TYPES
from fractal_dsl.program.syntax_to_program.values import BUILTINS

NAME_PATTERN = r"[^\W\d]\w*"
CONSTANTS = ("true", "false")
LOGIC = ("and", "or", "not")
OTHERS = tuple(w for w in KEYWORDS if w not in (*DECLARATIONS, *CONSTANTS, *LOGIC))
"""Keywords inside declarations."""
TYPE_NAMES = (*(name for name in NAMED_TYPES if name not in KEYWORDS), "f32", "i64")
NATIVES = (*LAYERS, *JOINS, *BUILTINS)
"""The names of built-in layers, joins and functions, which are not keywords."""
NUMBER_PATTERNS = (
    r"\d+(?:_\d+)*(?:\.\d+)?%",
    r"\d+(?:_\d+)*(?:\.\d+(?:[eE][+-]?\d+)?|[eE][+-]?\d+)",
    r"\d+(?:_\d+)*",
)
"""Probabilities, decimals, whole numbers, in the order in which they are tried."""
OPERATORS = r">>|\*\*|//|==|!=|<=|>=|->|\.\.|[|+\-*/%<>=@]"


class FracLexer(RegexLexer):
    """Frac, the language of fractal networks."""

    name: ClassVar = "Frac"
    aliases: ClassVar = ["frac"]
    filenames: ClassVar = ["*.frac"]
    mimetypes: ClassVar = ["text/x-frac"]
    url: ClassVar = ""
    tokens: ClassVar[dict[str, Any]] = {
        "root": [
            (r"\s+", Whitespace),
            (r"##[^\n]*", Comment.Special),
            (r"#[^\n]*", Comment.Single),
            (r'"[^"\n]*"', String),
            (NUMBER_PATTERNS[0], Number),
            (NUMBER_PATTERNS[1], Number.Float),
            (NUMBER_PATTERNS[2], Number.Integer),
            (rf"\b(layer|rule|net)(\s+)({NAME_PATTERN})", bygroups(Keyword.Declaration, Whitespace, Name.Function)),
            (rf"\b(param|let|shared)(\s+)({NAME_PATTERN})", bygroups(Keyword.Declaration, Whitespace, Name.Variable)),
            (rf"(@)(\s*)({NAME_PATTERN})", bygroups(Operator, Whitespace, Name.Decorator)),
            (words(DECLARATIONS, r"\b", r"\b"), Keyword.Declaration),
            (words(CONSTANTS, r"\b", r"\b"), Keyword.Constant),
            (words(LOGIC, r"\b", r"\b"), Operator.Word),
            (words(OTHERS, r"\b", r"\b"), Keyword),
            (words(TYPE_NAMES, r"\b", r"\b"), Keyword.Type),
            (words(NATIVES, r"\b", r"\b"), Name.Builtin),
            (NAME_PATTERN, Name),
            (OPERATORS, Operator),
            (r"[()\[\]{},:.]", Punctuation),
        ]
    }
