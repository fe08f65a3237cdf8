"""Errors and warnings about the text of a file: E01xx, W01xx."""

from __future__ import annotations

from fractal_dsl.cli.explanations.explanation import Explanation

TEXT: dict[str, Explanation] = {
    "E0101": Explanation(
        "The language has no such character outside comments and texts. Texts stand in straight double quotes and end"
        " on their line; declarations need no semicolon; `and`, `or`, `not` and `**` are written out.",
        "let width = 64;",
        "let width = 64",
    ),
    "E0102": Explanation(
        "The text stops being a declaration here. The message names what could stand at this place; often the cause is"
        " just before it: a missing `=`, `,`, `:` or `>>`.",
        "layer conv(out int) = conv2d(out, 3)",
        "layer conv(out: int) = conv2d(out, 3)",
    ),
    "E0103": Explanation(
        "Brackets come in pairs: `( )`, `[ ]`, `{ }`. Either this one was never closed, or it closes nothing. The help"
        " shows where the open one stands.",
        "net N(x: f32[8]) -> f32[8] = linear(8",
        "net N(x: f32[8]) -> f32[8] = linear(8)",
    ),
    "E0104": Explanation(
        "The first line `frac 1` names the edition of the language that the file is written in. This version reads"
        " edition 1 only. The line may be left out.",
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
        "Brackets nest at most 40 deep, and an expression has at most 100 words and signs between two of `,`, `>>`,"
        " `|` and `=`. Name a part with `let` or `layer`.",
        "let x = " + "(" * 41 + "1" + ")" * 41,
        "let x = 1",
    ),
    "E0106": Explanation(
        "`extern` names a Python class, and loading a class runs its module's code. That happens only where you say"
        " `--allow-python` (in Python: `allow_python=True`), for a file and code that you trust. What no layer, rule or"
        " net uses is not loaded.",
        """
        extern layer swish(beta: float) from "my_layers:Swish"
        net N(x: f32[8]) -> f32[8] = linear(8) >> swish(1.0)
        """,
        "net N(x: f32[8]) -> f32[8] = linear(8) >> silu",
    ),
    "W0101": Explanation(
        "Some characters change the order in which the text around them is shown, and are not shown themselves. "
        "Bidirectional scripts need them, but with one of them in a comment or a text, what you read may not be what "
        "is compiled. The file compiles: this is a warning.",
        """
        net N(x: f32[8]) -> f32[8] = linear(8)  # the \u202e last layer
        """,
        """
        net N(x: f32[8]) -> f32[8] = linear(8)  # the last layer
        """,
    ),
}
