"""What each code means, with a text that gives it and one that does not: ``fractal-dsl explain E0401``.

A new code is one entry in ``EXPLANATIONS``; ``tests/test_explain.py`` fails while a code has none, and holds
each example to what it says.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import force_setattr

from fractal_dsl.base.errors import UserError, nearest
from fractal_dsl.language.diagnostics import CODES, FracError
from fractal_dsl.language.source import Source

NAME = "spec.frac"


class Explanation(Struct, frozen=True):
    """``wrong`` is a spec that gives the code and no other, ``right`` one without errors and warnings.

    Where the code comes from a command or needs other files, ``error`` is what is printed, ``command`` what to
    type instead of a spec, and ``files`` what lies beside it.
    """

    meaning: str
    wrong: str
    right: str
    error: str = ""
    command: bool = False
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])

    def __post_init__(self) -> None:
        for name in ("wrong", "right"):
            force_setattr(self, name, textwrap.dedent(getattr(self, name)).strip("\n"))


def explain(code: str) -> str:
    """The text to print for a code, in capitals or not. Raises UserError if there is no such code."""
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
        *_part("It gives", entry.error or printed(entry.wrong)),
        *_part("Right", entry.right),
    ]
    return "\n\n".join(parts)


def printed(text: str) -> str:
    """The errors of a spec, else its warnings, as ``check`` prints them; empty if there are none."""
    from fractal_dsl.pipeline import checked

    try:
        warnings = checked(Source(NAME, text)).warnings
    except FracError as error:
        return str(error)
    return "\n\n".join([w.text() for w in warnings])


def _part(title: str, text: str) -> tuple[str, str]:
    return f"{title}:", textwrap.indent(text.rstrip("\n"), "    ")


EXPLANATIONS: dict[str, Explanation] = {
    # --- files
    "E0001": Explanation(
        "The file does not exist, or may not be read. A name that is nearly right is suggested.",
        "fractal-dsl check digit.frac",
        "fractal-dsl check digits.frac",
        """error[E0001]: there is no such file
  --> digit.frac
     = help: did you mean `digits.frac`?""",
        command=True,
        files={"digits.frac": b"net N(x: f32[8]) -> f32[8] = linear(8)\n"},
    ),
    "E0002": Explanation(
        "A .frac file is text in UTF-8, of at most 1 MB and without NUL bytes. This file is something else: a picture,"
        " a network's weights, or a text in another encoding. Save it as UTF-8, or give the right file.",
        "fractal-dsl check digits.png",
        "fractal-dsl check digits.frac",
        """error[E0002]: this is not UTF-8 text: byte 0 is invalid
  --> digits.png

1 error""",
        command=True,
        files={"digits.frac": b"net N(x: f32[8]) -> f32[8] = linear(8)\n", "digits.png": b"\x89PNG\r\n"},
    ),
    # --- the text
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
    # --- names
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
    # --- values
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
    # --- rules
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
    # --- shapes
    "E0501": Explanation(
        "The operands of a join have different shapes. `mean`, `sum` and `max` join equal shapes; `concat` joins shapes"
        " that differ in the axis of concatenation only, which is the channels unless `dim` says another.",
        "net N(x: f32[3, 8, 8]) -> f32[3, 8, 8] = sum(id, conv2d(3, 3))",
        "net N(x: f32[3, 8, 8]) -> f32[3, 8, 8] = sum(id, conv2d(3, 3, padding=1))",
    ),
    "E0502": Explanation(
        "What flows into the layer has the wrong number of axes, the wrong element type, or sizes that do not divide."
        " Shapes leave the batch out: an image is [channels, height, width].",
        "net N(x: f32[3, 8, 8]) -> f32[4, 6, 6] = flatten >> conv2d(4, 3)",
        "net N(x: f32[3, 8, 8]) -> f32[144] = conv2d(4, 3) >> flatten",
    ),
    "E0503": Explanation(
        "The body of the net gives another shape than the net declares behind `->`. Correct the one that is wrong.",
        "net N(x: f32[3, 8, 8]) -> f32[10] = linear(10)",
        "net N(x: f32[3, 8, 8]) -> f32[10] = flatten >> linear(10)",
    ),
    "E0504": Explanation(
        "A window, of a convolution or a pooling, is larger than its padded input, so that nothing would come out."
        " There are too many poolings or strides before it, or too little padding.",
        "net N(x: f32[3, 8, 8]) -> f32[3, 1, 1] = maxpool2d(2) ** 4",
        "net N(x: f32[3, 8, 8]) -> f32[3, 1, 1] = maxpool2d(2) ** 3",
    ),
    # --- limits
    "E0601": Explanation(
        "The net would have more base layers than the limit of 200,000, or more than 16 times as many layers in all."
        " Sizes are counted from the recurrence, before anything is expanded. `--max-layers` raises the limit.",
        """
        rule F join mean { F[1] = linear(8)  F[n+1] = F[n] >> F[n] | linear(8) }
        net N(x: f32[8]) -> f32[8] = F[60]
        """,
        """
        rule F join mean { F[1] = linear(8)  F[n+1] = F[n] >> F[n] | linear(8) }
        net N(x: f32[8]) -> f32[8] = F[6]
        """,
    ),
    "E0602": Explanation(
        "Whole numbers go up to 2**63 - 1, lists to 10,000 elements, levels to 256. The limits keep every check fast.",
        "let many = range(1000000)",
        "let many = range(1000)",
    ),
    # --- settings
    "E0701": Explanation(
        "The `train` block has a setting that does not exist, or a value that the setting does not take. `--set` on the"
        " command line is checked in the same way.",
        """
        net N(x: f32[8]) -> f32[8] = linear(8)
        train { epoks = 3 }
        """,
        """
        net N(x: f32[8]) -> f32[8] = linear(8)
        train { epochs = 3 }
        """,
    ),
    "E0702": Explanation(
        "After `with`, a net has the options `drop_path(local=…, global=…)`, `drop_path(local=…, columns=all)` and"
        ' `init("…")`. This is none of them, or has a wrong value.',
        'net N(x: f32[8]) -> f32[8] with init("zavier") = linear(8)',
        'net N(x: f32[8]) -> f32[8] with init("xavier") = linear(8)',
    ),
    # --- imports
    "E0801": Explanation(
        "The file that is imported does not exist or cannot be read. Paths start at the folder of the file that"
        " imports.",
        'import "block.frac" as blocks',
        'import "blocks.frac" as blocks',
        """error[E0801]: there is no file block.frac
  --> spec.frac:1:8
   1 | import "block.frac" as blocks
     |        ^^^^^^^^^^^^
     = help: did you mean `blocks.frac`?""",
        files={"blocks.frac": b"layer conv(out: int) = conv2d(out, 3) >> relu\n"},
    ),
    "E0802": Explanation(
        "A file imports itself, by way of others perhaps. Move what both need into a file that imports neither.",
        'import "blocks.frac" as blocks',
        'import "parts.frac" as parts',
        """error[E0802]: these files import each other: spec.frac -> blocks.frac -> spec.frac
  --> blocks.frac:1:8
   1 | import "spec.frac" as spec
     |        ^^^^^^^^^^^
     = help: move what both files need into a third file""",
        files={"blocks.frac": b'import "spec.frac" as spec\n', "parts.frac": b"let width = 8\n"},
    ),
    "E0803": Explanation(
        "A spec imports files of its own folder and of the folders in it, and no others: so it can be copied as a"
        " whole, and reads nothing that it should not. Absolute paths and backslashes are refused as well.",
        'import "../blocks.frac" as blocks',
        'import "blocks.frac" as blocks',
        """error[E0803]: "../blocks.frac" is outside nets/, the folder of the spec
  --> spec.frac:1:8
   1 | import "../blocks.frac" as blocks
     |        ^^^^^^^^^^^^^^^^
     = help: copy the file into this folder, or compile a file in a parent folder""",
        files={"blocks.frac": b"layer conv(out: int) = conv2d(out, 3) >> relu\n"},
    ),
    "E0804": Explanation(
        "`std:` is the library that comes with the package. It has no part of this name; the help names those it has.",
        'import "std:cnns" as cnn',
        'import "std:cnn" as cnn',
    ),
    "E0805": Explanation(
        "The imported file declares no such name. Only what a file itself declares can be imported from it.",
        """
        import "blocks.frac" as blocks
        layer twice = blocks.cov(8) ** 2
        """,
        """
        import "blocks.frac" as blocks
        layer twice = blocks.conv(8) ** 2
        """,
        """error[E0805]: blocks.frac declares no `cov`
  --> spec.frac:2:15
   2 | layer twice = blocks.cov(8) ** 2
     |               ^^^^^^^^^^
     = in twice
     = help: did you mean `conv`?""",
        files={"blocks.frac": b"layer conv(out: int) = conv2d(out, 3) >> relu\n"},
    ),
    # --- warnings
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
