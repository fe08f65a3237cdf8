"""Errors in rules: E04xx."""

from __future__ import annotations

from fractal_dsl.cli.explanations.explanation import Explanation

RULES: dict[str, Explanation] = {
    "E0401": Explanation(
        "`|` puts columns side by side, and the join of the rule around it closes them. Outside a rule there is no such"
        " join: name one on the spot, such as `mean(a, b)`.",
        "net N(x: f32[8]) -> f32[8] = linear(8) | id",
        "net N(x: f32[8]) -> f32[8] = mean(linear(8), id)",
    ),
    "E0402": Explanation(
        "A rule with `|` says which join closes its columns: `join` and its name stand before the brace.",
        """
        rule F { F[1] = linear(8)  F[n+1] = F[n] | linear(8) }
        """,
        """
        rule F join mean { F[1] = linear(8)  F[n+1] = F[n] | linear(8) }
        """,
    ),
    "E0403": Explanation(
        "A rule is expanded at one level after the other, and each needs a case. Here a level is reached that no case"
        " takes, or the rule has no case that ends the recursion.",
        """
        rule F { F[1] = linear(8)  F[n+1] = F[n] >> F[n] }
        net N(x: f32[8]) -> f32[8] = F[0]
        """,
        """
        rule F { F[1] = linear(8)  F[n+1] = F[n] >> F[n] }
        net N(x: f32[8]) -> f32[8] = F[3]
        """,
    ),
    "E0404": Explanation(
        "What a rule mentions of itself must be of a lower level, or expansion would never end.",
        "rule F { F[1] = linear(8)  F[n+1] = F[n+1] >> linear(8) }",
        "rule F { F[1] = linear(8)  F[n+1] = F[n] >> linear(8) }",
    ),
    "E0405": Explanation(
        "Other cases take each level of this one, so it would never be used. Of the cases that fit a level, one of a"
        " fixed level goes first; else the first in the text whose guard is true. Give one of them another level, or a"
        " guard: `F[n] when n > 3 = …`.",
        "rule F { F[1] = linear(8)  F[1] = id }",
        "rule F { F[1] = linear(8)  F[2] = id }",
    ),
    "E0406": Explanation(
        "A rule is a family of blocks, one for each level. The level stands in brackets behind the name, the arguments"
        " in parentheses behind the level: `F[3](64)`.",
        """
        rule F(out: int) { F[1] = linear(out)  F[n+1] = F[n] >> F[n] }
        net N(x: f32[8]) -> f32[8] = F(8)
        """,
        """
        rule F(out: int) { F[1] = linear(out)  F[n+1] = F[n] >> F[n] }
        net N(x: f32[8]) -> f32[8] = F[3](8)
        """,
    ),
    "E0407": Explanation(
        "A `let`, `param`, `layer` or `join` mentions itself, by way of others perhaps. Recursion is written as a rule,"
        " whose level falls until it ends.",
        """
        let a = b + 1
        let b = a + 1
        """,
        """
        let a = 1
        let b = a + 1
        """,
    ),
    "E0408": Explanation(
        "`.each(block)` puts a block behind every column of a rule, just before the join that spans them. It stands"
        " behind a mention of a rule; behind anything else, write `>>`.",
        "net N(x: f32[8]) -> f32[8] = linear(8).each(relu)",
        "net N(x: f32[8]) -> f32[8] = linear(8) >> relu",
    ),
}
