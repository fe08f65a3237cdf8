"""Errors in shapes, sizes and settings of nets: E05xx, E06xx, E07xx."""

from __future__ import annotations

from fractal_dsl.services.explanations.explanation import Explanation

NETS: dict[str, Explanation] = {
    "E0412": Explanation(
        "In the body of a net with several inputs, each series, branch and column begins with an input or a value, so "
        "that it is clear what flows into it.",
        "net N(a: f32[8], b: f32[8]) -> f32[8] = sum(a, b, linear(8))",
        "net N(a: f32[8], b: f32[8]) -> f32[8] = sum(a, b, a >> linear(8))",
    ),
    "E0413": Explanation(
        "A net with several inputs mentions each of them.",
        "net N(a: f32[8], b: f32[4]) -> f32[8] = a >> linear(8)",
        "net N(a: f32[8], b: f32[4]) -> f32[8] = concat(a, b) >> linear(8)",
    ),
    "E0501": Explanation(
        "The operands of a join have different shapes. `mean`, `sum` and `max` need equal shapes. `concat` needs "
        "shapes that differ only in the axis of concatenation: the channels, unless `dim` names another.",
        "net N(x: f32[3, 8, 8]) -> f32[3, 8, 8] = sum(id, conv2d(3, 3))",
        "net N(x: f32[3, 8, 8]) -> f32[3, 8, 8] = sum(id, conv2d(3, 3, padding=1))",
    ),
    "E0502": Explanation(
        "The input of the layer has the wrong number of axes, the wrong element type, or sizes that do not "
        "divide. Shapes do not include the batch: an image is [channels, height, width].",
        "net N(x: f32[3, 8, 8]) -> f32[4, 6, 6] = flatten >> conv2d(4, 3)",
        "net N(x: f32[3, 8, 8]) -> f32[144] = conv2d(4, 3) >> flatten",
    ),
    "E0503": Explanation(
        "The body of the net gives another shape than the net declares after `->`. Correct one of them.",
        "net N(x: f32[3, 8, 8]) -> f32[10] = linear(10)",
        "net N(x: f32[3, 8, 8]) -> f32[10] = flatten >> linear(10)",
    ),
    "E0504": Explanation(
        "The window of a convolution or a pooling is larger than its padded input. Use fewer poolings or strides "
        "before it, or more padding.",
        "net N(x: f32[3, 8, 8]) -> f32[3, 1, 1] = maxpool2d(2) ** 4",
        "net N(x: f32[3, 8, 8]) -> f32[3, 1, 1] = maxpool2d(2) ** 3",
    ),
    "E0601": Explanation(
        "The net would have more than 200,000 base layers, the limit, or more than 16 times as many layers in "
        "all. Sizes are computed from the recurrence before anything expands. `--max-layers` raises the limit.",
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
        "Integers can be up to 2**63 - 1, lists can have 10,000 elements, and levels go up to 256. These limits "
        "keep every check fast.",
        "let many = range(1000000)",
        "let many = range(1000)",
    ),
    "E0701": Explanation(
        "The `train` block has an unknown setting, or a value that the setting does not accept. The same checks "
        "apply to `--set` on the command line.",
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
        "A net can have the options `drop_path(local=…, global=…)`, `drop_path(local=…, columns=all)` and "
        '`init("…", fan="…")` after `with`. This is another option, or it has a wrong value, or `columns` has not one '
        "weight for each column.",
        'net N(x: f32[8]) -> f32[8] with init("zavier") = linear(8)',
        'net N(x: f32[8]) -> f32[8] with init("xavier") = linear(8)',
    ),
    "W0501": Explanation(
        "Embeddings, attention, recurrent layers and layer norms output [length, features]. One-dimensional "
        "convolutions, poolings and batch norms take [channels, length]. Both are tensors with two axes, so the file "
        "compiles, but positions count as channels and windows slide over features. `transpose(1, 2)` swaps the axes "
        "(axis 0 is the batch). This is a warning.",
        """
        net N(x: i64[56]) -> f32[100, 298] = embedding(20000, 300) >> conv1d(100, 3)
        """,
        """
        net N(x: i64[56]) -> f32[100, 54] = embedding(20000, 300) >> transpose(1, 2) >> conv1d(100, 3)
        """,
    ),
    "W0502": Explanation(
        "In PyTorch, the first argument of a layer is the size of its input; here that size is inferred. If you write "
        "it anyway, it is taken as the output size, and the next number as the next parameter, such as the kernel. "
        "This warning means that the result is valid but unlikely. The file compiles.",
        """
        net N(x: f32[3, 224, 224]) -> f32[3, 54, 54] = conv2d(3, 64, 3)
        """,
        """
        net N(x: f32[3, 224, 224]) -> f32[64, 222, 222] = conv2d(64, 3)
        """,
    ),
    "W0503": Explanation(
        "`sum` and `mean` repeat an operand along its axes of size 1, as torch does. An `id` that is repeated is often "
        "a shortcut around a layer that changes the number of channels. Then write `project` instead. The file "
        "compiles: this is a warning.",
        """
        net N(x: f32[1, 8, 8]) -> f32[16, 8, 8] = sum(id, conv2d(16, 3, padding=1))
        """,
        """
        net N(x: f32[1, 8, 8]) -> f32[16, 8, 8] = sum(project(16), conv2d(16, 3, padding=1))
        """,
    ),
    "W0701": Explanation(
        "The option `drop_path` drops operands of the joins that close the columns of rules. In a net without such "
        "rules it has no effect. Training leaves out a branch of an inline join, such as `sum(id, …)`, if `@drop(50%)` "
        "follows it, but the only branch of a join always stays. The file compiles: this is a warning.",
        """
        layer block = sum(id, linear(8) >> relu)
        net N(x: f32[8]) -> f32[8] with drop_path(local=50%) = block ** 3
        """,
        """
        layer block = sum(id, (linear(8) >> relu) @drop(50%))
        net N(x: f32[8]) -> f32[8] = block ** 3
        """,
    ),
}
