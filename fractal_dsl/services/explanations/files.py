"""Errors in files and imports: E00xx, E08xx."""

from __future__ import annotations

from fractal_dsl.services.explanations.explanation import Explanation

FILES: dict[str, Explanation] = {
    "E0001": Explanation(
        "The file does not exist or cannot be read. The message suggests a similar name if there is one.",
        "fractal-dsl check digit.frac",
        "fractal-dsl check digits.frac",
        """error[E0001]: there is no such file
  --> digit.frac
     = help: did you mean `digits.frac`?""",
        command=True,
        files={"digits.frac": b"net N(x: f32[8]) -> f32[8] = linear(8)\n"},
    ),
    "E0002": Explanation(
        "A .frac file is UTF-8 text of at most 1 MB without NUL bytes. This file is something else, such as a "
        "picture, weights, or text in another encoding. Save it as UTF-8, or give the right file.",
        "fractal-dsl check digits.png",
        "fractal-dsl check digits.frac",
        """error[E0002]: this is not UTF-8 text: byte 0 is invalid
  --> digits.png

1 error""",
        command=True,
        files={"digits.frac": b"net N(x: f32[8]) -> f32[8] = linear(8)\n", "digits.png": b"\x89PNG\r\n"},
    ),
    "E0801": Explanation(
        "The imported file does not exist or cannot be read. Paths are relative to the folder of the importing file.",
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
        "A file imports itself, directly or through other files. Move what both files need into a third file.",
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
        "A spec can import only files in its own folder and in the subfolders. You can therefore copy the folder "
        "as a whole, and the spec cannot read other files. Absolute paths and backslashes are not allowed either.",
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
        "`std:` is the library that comes with the package. It has no module of this name. The help lists its modules.",
        'import "std:cnns" as cnn',
        'import "std:cnn" as cnn',
    ),
    "E0805": Explanation(
        "The imported file declares no such name. You can import only names that the file itself declares.",
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
