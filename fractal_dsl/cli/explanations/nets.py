"""Errors in shapes, sizes and settings of nets: E05xx, E06xx, E07xx."""

from __future__ import annotations

from fractal_dsl.cli.explanations.explanation import Explanation

NETS: dict[str, Explanation] = {
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
}
