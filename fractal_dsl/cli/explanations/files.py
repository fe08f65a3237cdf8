"""Errors in files and imports: E00xx, E08xx."""

from __future__ import annotations

from fractal_dsl.cli.explanations.explanation import Explanation

FILES: dict[str, Explanation] = {
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
}
