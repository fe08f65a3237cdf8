"""Errors in names and values: E02xx, E03xx."""

from __future__ import annotations

from fractal_dsl.cli.explanations.explanation import Explanation

NAMES: dict[str, Explanation] = {
    "E0201": Explanation(
        "Nothing of this name is in sight: no declaration, parameter, layer, join, function, type or annotation. Names"
        " are case-sensitive, and layers are torch's names in lower case. A near name is suggested.",
        "net N(x: f32[8]) -> f32[8] = Linear(8)",
        "net N(x: f32[8]) -> f32[8] = linear(8)",
    ),
    "E0202": Explanation(
        "A name is declared once in a file, and a file has one `train` block. The names of parameters of one layer,"
        " join or rule differ as well. Rename one of the two, or take it away.",
        """
        let width = 8
        let width = 16
        """,
        """
        let width = 8
        let wide = 16
        """,
    ),
    "E0203": Explanation(
        "The layer, join, rule or option has no parameter of this name; the help lists those that it has. Built-in"
        " layers have torch's keyword names, without the input sizes, which are always inferred. With `-p`: the file"
        " has no such `param`.",
        "net N(x: f32[3, 8, 8]) -> f32[4, 6, 6] = conv2d(4, kernel=3)",
        "net N(x: f32[3, 8, 8]) -> f32[4, 6, 6] = conv2d(4, kernel_size=3)",
    ),
    "E0204": Explanation(
        "An argument, an option of a net or a training setting stands here for the second time. An argument counts"
        " whether it is given by its place or by its name.",
        "net N(x: f32[8]) -> f32[8] = linear(8, out_features=8)",
        "net N(x: f32[8]) -> f32[8] = linear(out_features=8)",
    ),
    "E0205": Explanation(
        "A parameter without a default has no value. Give it as an argument; for a `param` of the file, give it with"
        " `-p name=value` or write a default.",
        "net N(x: f32[3, 8, 8]) -> f32[4, 6, 6] = conv2d(4)",
        "net N(x: f32[3, 8, 8]) -> f32[4, 6, 6] = conv2d(4, 3)",
    ),
    "E0206": Explanation(
        "There are more arguments than parameters. Layers are no functions of their input: the input is not an"
        " argument, and its size is inferred.",
        "net N(x: f32[8]) -> f32[8] = relu(linear(8))",
        "net N(x: f32[8]) -> f32[8] = linear(8) >> relu",
    ),
    "E0207": Explanation(
        "`--net` names a net that the file does not declare. Without `--net`, the last net of the file is taken.",
        "fractal-dsl info digits.frac --net Digit",
        "fractal-dsl info digits.frac --net Digits",
        "error[E0207]: the file has no net `Digit`\n  --> digits.frac\n     = help: did you mean `Digits`?",
        command=True,
        files={"digits.frac": b"net Digits(x: f32[8]) -> f32[8] = linear(8)\n"},
    ),
    "E0301": Explanation(
        "A value is of another type than the place asks for. There is no silent conversion from float to int (`/` gives"
        " a float, `//` an int), from int to bool, or from a list of blocks to a block (`seq` makes one).",
        "net N(x: f32[8]) -> f32[4] = linear(8 / 2)",
        "net N(x: f32[8]) -> f32[4] = linear(8 // 2)",
    ),
    "E0302": Explanation(
        "The type is right, but the value is outside the range or the set that the parameter allows. A `prob` lies"
        " between 0 and 1, which is 0% to 100%; a `param` says its domain after `in`.",
        "param columns: int = 9 in 1..8",
        "param columns: int = 3 in 1..8",
    ),
    "E0303": Explanation(
        "The operator has no meaning for these two kinds of value. Blocks are composed with `>>`, repeated with `**`,"
        " and added with the join `sum(a, b)`.",
        "net N(x: f32[8]) -> f32[8] = id + linear(8)",
        "net N(x: f32[8]) -> f32[8] = sum(id, linear(8))",
    ),
    "E0304": Explanation(
        "The list has no such element. Elements count from 0; negative numbers count from the end, -1 being the last.",
        "let width = [64, 128][2]",
        "let width = [64, 128][1]",
    ),
    "E0305": Explanation(
        "The numbers are of the right types, but the operation has no result for them: a division by zero, a root of a"
        " negative number, a range with step 0, or a float beyond the largest.",
        "let half = 1 / 0",
        "let half = 1 / 2",
    ),
    "E0306": Explanation(
        "`zip` puts the first elements of its lists together, then the second ones, and so on. Here the lists differ in"
        " length, and nothing is dropped silently.",
        "let pairs = zip([64, 128, 256], [0%, 10%])",
        "let pairs = zip([64, 128, 256], [0%, 10%, 20%])",
    ),
}
