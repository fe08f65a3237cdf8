"""Errors and warnings about the text of a file: E01xx, W01xx."""

from __future__ import annotations

from fractal_dsl.services.explanations.explanation import Explanation

TEXT: dict[str, Explanation] = {
    "E0101": Explanation(
        "The language does not use this character outside comments and strings. Strings have straight double "
        "quotes and end on the line where they start. Declarations need no semicolon. Write `and`, `or`, `not` "
        "and `**`.",
        "let width = 64;",
        "let width = 64",
    ),
    "E0102": Explanation(
        "This is a syntax error. The message names what can follow here. The cause is often just before this "
        "place: a missing `=`, `,`, `:` or `>>`.",
        "layer conv(out int) = conv2d(out, 3)",
        "layer conv(out: int) = conv2d(out, 3)",
    ),
    "E0103": Explanation(
        "Brackets come in pairs: `( )`, `[ ]`, `{ }`. This one was never closed, or closes nothing. The help "
        "shows the open bracket.",
        "net N(x: f32[8]) -> f32[8] = linear(8",
        "net N(x: f32[8]) -> f32[8] = linear(8)",
    ),
    "E0104": Explanation(
        "The first line `frac 1` names the edition of the language. This version reads only edition 1. The line "
        "is optional.",
        """
        frac 2
        net N(x: f32[8]) -> f32[8] = linear(8)
        """,
        """
        frac 1
        net N(x: f32[8]) -> f32[8] = linear(8)
        """,
    ),
    "E0105": Explanation(
        "Brackets can nest 40 deep. An expression can have 100 words and signs between two of `,`, `>>`, `|` and "
        "`=`. Use `let` or `layer` to name a part.",
        "let x = " + "(" * 41 + "1" + ")" * 41,
        "let x = 1",
    ),
    "E0106": Explanation(
        "`extern` names a Python class. Loading a class runs the code of its module. Pass `--allow-python` (in "
        "Python: `allow_python=True`) if you trust the file and the code. A class that no layer, rule or net uses "
        "is not loaded.",
        """
        extern layer swish(beta: float) from "my_layers:Swish"
        net N(x: f32[8]) -> f32[8] = linear(8) >> swish(1.0)
        """,
        "net N(x: f32[8]) -> f32[8] = linear(8) >> silu",
    ),
    "W0101": Explanation(
        "Some invisible characters change the order in which the text around them is displayed. Bidirectional "
        "scripts need them. In a comment or a string, they can make the file look different from what is "
        "compiled. This is a warning: the file compiles.",
        """
        net N(x: f32[8]) -> f32[8] = linear(8)  # the \u202e last layer
        """,
        """
        net N(x: f32[8]) -> f32[8] = linear(8)  # the last layer
        """,
    ),
}
