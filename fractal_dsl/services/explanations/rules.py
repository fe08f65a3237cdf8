"""Errors in rules: E04xx."""

from __future__ import annotations

from fractal_dsl.services.explanations.explanation import Explanation

RULES: dict[str, Explanation] = {
    "E0401": Explanation(
        "`|` puts columns side by side, and the join of the surrounding rule merges them. Outside a rule there is "
        "no such join. Name one here, such as `mean(a, b)`.",
        "net N(x: f32[8]) -> f32[8] = linear(8) | id",
        "net N(x: f32[8]) -> f32[8] = mean(linear(8), id)",
    ),
    "E0402": Explanation(
        "A rule with `|` needs a join to merge its columns. Write `join` and its name before the brace.",
        """
        rule F { F[1] = linear(8)  F[n+1] = F[n] | linear(8) }
        """,
        """
        rule F join mean { F[1] = linear(8)  F[n+1] = F[n] | linear(8) }
        """,
    ),
    "E0403": Explanation(
        "A rule expands level by level, and needs a case for each level. No case covers this level, or no case "
        "ends the recursion.",
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
        "A rule can refer to itself only at a lower level. Otherwise the expansion would never end.",
        "rule F { F[1] = linear(8)  F[n+1] = F[n+1] >> linear(8) }",
        "rule F { F[1] = linear(8)  F[n+1] = F[n] >> linear(8) }",
    ),
    "E0405": Explanation(
        "Other cases cover every level of this one, so it would never be used. Of the cases that match a level, a "
        "case with a fixed level comes first, then the first case in the file whose guard is true. Give one of "
        "them another level or a guard: `F[n] when n > 3 = …`.",
        "rule F { F[1] = linear(8)  F[1] = id }",
        "rule F { F[1] = linear(8)  F[2] = id }",
    ),
    "E0406": Explanation(
        "A rule is a family of blocks, one for each level. Write the level in brackets after the name, and the "
        "arguments in parentheses after the level: `F[3](64)`.",
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
        "A `let`, `param`, `layer`, `join` or value refers to itself, directly or through others. Write recursion as a "
        "rule, whose level decreases until it ends.",
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
        "`.each(block)` adds a block to the end of every column of a rule, just before the join that spans them. "
        "It can follow only the use of a rule. Elsewhere, write `>>`.",
        "net N(x: f32[8]) -> f32[8] = linear(8).each(relu)",
        "net N(x: f32[8]) -> f32[8] = linear(8) >> relu",
    ),
    "E0409": Explanation(
        "`@drop(10%)` leaves a branch of an inline join out of a tenth of the training steps. The other branches "
        "remain. It follows a whole branch: an annotation binds tighter than `>>`, so a branch of several blocks needs "
        "parentheses. The option `with drop_path(local=10%)` drops columns of rules.",
        "net N(x: f32[8]) -> f32[8] = sum(id, linear(8) >> relu @drop(10%))",
        "net N(x: f32[8]) -> f32[8] = sum(id, (linear(8) >> relu) @drop(10%))",
    ),
    "E0410": Explanation(
        "A value, which `where` names, may mention only the values that are bound before it, from left to right.",
        "net N(x: f32[8]) -> f32[8] = sum(a, b) where b = a >> relu, a = linear(8)",
        "net N(x: f32[8]) -> f32[8] = sum(a, b) where a = linear(8), b = a >> relu",
    ),
    "E0411": Explanation(
        "A value is a tensor that is computed once, from the input of its body. Nothing can flow into it. So it begins "
        "a series, a branch of an inline join, or a column: `a >> relu`, `sum(a, linear(8))`. In `linear(8) >> a` the "
        "output of `linear(8)` would be lost. To join a value with the output of other blocks, give these a name, too.",
        "net N(x: f32[8]) -> f32[8] = linear(8) >> sum(a, id) where a = relu",
        "net N(x: f32[8]) -> f32[8] = sum(a, b) where a = relu, b = linear(8)",
    ),
    "W0401": Explanation(
        "Neither the body nor a value that it needs mentions this value. It is left out of the net.",
        "net N(x: f32[8]) -> f32[8] = sum(a, id) where a = linear(8), b = a >> relu",
        "net N(x: f32[8]) -> f32[8] = sum(a, b) where a = linear(8), b = a >> relu",
    ),
}
