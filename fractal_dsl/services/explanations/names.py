"""Errors in names and values: E02xx, E03xx."""

from __future__ import annotations

from fractal_dsl.services.explanations.explanation import Explanation

NAMES: dict[str, Explanation] = {
    "E0201": Explanation(
        "No declaration, parameter, layer, join, function, type or annotation has this name here. Names are "
        "case-sensitive. Layers have the names of torch in lower case. The message suggests a similar name.",
        "net N(x: f32[8]) -> f32[8] = Linear(8)",
        "net N(x: f32[8]) -> f32[8] = linear(8)",
    ),
    "E0202": Explanation(
        "A file can declare a name only once, and can have only one `train` block. The parameters of a layer, "
        "join or rule also need different names. Rename or remove one of the two.",
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
        "The layer, join, rule or option has no parameter of this name. The help lists its parameters. Built-in "
        "layers have the keyword names of torch, without input sizes, which are inferred. With `-p`: the file has "
        "no such `param`.",
        "net N(x: f32[3, 8, 8]) -> f32[4, 6, 6] = conv2d(4, kernel=3)",
        "net N(x: f32[3, 8, 8]) -> f32[4, 6, 6] = conv2d(4, kernel_size=3)",
    ),
    "E0204": Explanation(
        "An argument, an option of a net or a training setting is given twice. An argument can be given by "
        "position or by name, but not by both.",
        "net N(x: f32[8]) -> f32[8] = linear(8, out_features=8)",
        "net N(x: f32[8]) -> f32[8] = linear(out_features=8)",
    ),
    "E0205": Explanation(
        "A parameter without a default has no value. Give it as an argument. For a `param` of the file, use `-p "
        "name=value` or write a default.",
        "net N(x: f32[3, 8, 8]) -> f32[4, 6, 6] = conv2d(4)",
        "net N(x: f32[3, 8, 8]) -> f32[4, 6, 6] = conv2d(4, 3)",
    ),
    "E0206": Explanation(
        "There are more arguments than parameters. A layer does not take its input as an argument. Connect layers "
        "with `>>`.",
        "net N(x: f32[8]) -> f32[8] = relu(linear(8))",
        "net N(x: f32[8]) -> f32[8] = linear(8) >> relu",
    ),
    "E0207": Explanation(
        "The file declares no net with the name in `--net`. Without `--net`, commands use the last net of the file.",
        "fractal-dsl info digits.frac --net Digit",
        "fractal-dsl info digits.frac --net Digits",
        "error[E0207]: the file has no net `Digit`\n  --> digits.frac\n     = help: did you mean `Digits`?",
        command=True,
        files={"digits.frac": b"net Digits(x: f32[8]) -> f32[8] = linear(8)\n"},
    ),
    "E0301": Explanation(
        "The value has the wrong type. Nothing converts a float to an int (`/` gives a float, `//` an int), an "
        "int to a bool, or a list of blocks to a block (`seq` does) implicitly.",
        "net N(x: f32[8]) -> f32[4] = linear(8 / 2)",
        "net N(x: f32[8]) -> f32[4] = linear(8 // 2)",
    ),
    "E0302": Explanation(
        "The type is right, but the parameter does not allow this value. A `prob` lies between 0 and 1, or 0% and "
        "100%. A `param` gives its domain after `in`.",
        "param columns: int = 9 in 1..8",
        "param columns: int = 3 in 1..8",
    ),
    "E0303": Explanation(
        "The operator does not support these two types. Use `>>` to compose blocks, `**` to repeat one, and the "
        "join `sum(a, b)` to add them.",
        "net N(x: f32[8]) -> f32[8] = id + linear(8)",
        "net N(x: f32[8]) -> f32[8] = sum(id, linear(8))",
    ),
    "E0304": Explanation(
        "The list has no such element. Indices start at 0. Negative indices count from the end: -1 is the last "
        "element.",
        "let width = [64, 128][2]",
        "let width = [64, 128][1]",
    ),
    "E0305": Explanation(
        "The types are right, but the operation has no result for these numbers: a division by zero, a root of a "
        "negative number, a range with step 0, or a float overflow.",
        "let half = 1 / 0",
        "let half = 1 / 2",
    ),
    "E0306": Explanation(
        "`zip` combines the first elements of its lists, then the second ones, and so on. The lists must have the "
        "same length.",
        "let pairs = zip([64, 128, 256], [0%, 10%])",
        "let pairs = zip([64, 128, 256], [0%, 10%, 20%])",
    ),
}
