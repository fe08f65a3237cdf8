"""The language's words, and the names of the grammar's terminals in messages."""

from __future__ import annotations

# fmt: off
KEYWORDS = (
    "frac", "import", "from", "as", "param", "let", "shared", "layer", "join", "rule", "net", "train", "extern",
    "with", "when", "where", "for", "in", "and", "or", "not", "true", "false",
)
# fmt: on
DECLARATIONS = ("import", "from", "param", "let", "shared", "layer", "join", "rule", "net", "train", "extern")

TERMINALS: dict[str, str] = {
    **{word.upper(): f"`{word}`" for word in KEYWORDS},
    **{
        name: f"`{text}`"
        for name, text in (
            pair.split(" ")
            for pair in (
                "LPAR (|RPAR )|LSQB [|RSQB ]|LBRACE {|RBRACE }|COMMA ,|COLON :|EQUAL =|ARROW ->|DOTS ..|DOT .|AT @|"
                "FLOW >>|POWER **|PLUS +|MINUS -|STAR *|SLASH /|DOUBLESLASH //|PERCENT %|EQEQ ==|NOTEQ !=|LE <=|"
                "GE >=|LT <|GT >"
            ).split("|")
        )
    },
    "BAR": "`|`",
    "NAME": "a name",
    "INT": "a whole number",
    "FLOAT": "a number",
    "PROB": "a percentage",
    "STRING": 'a string in "quotes"',
    "COMMENT": "a comment",
    "SPACE": "white space",
    "$END": "the end of the file",
}
"""The names of the grammar's terminals in messages."""

OPEN = {"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE"}
"""Opening brackets with their closing brackets."""
