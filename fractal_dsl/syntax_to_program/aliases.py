"""Names of PyTorch, Keras and Python, and what stands for them here: tables for the help of messages."""

from __future__ import annotations

from fractal_dsl.ops import LAYERS

NAMES = {
    "True": "write `true`",
    "False": "write `false`",
    "None": "leave the argument out: its default stands for it",
    "int": "`//` divides to a whole number",
    "self": "the input flows in by itself: leave the name out",
    "same": 'write `"same"`',
    "valid": 'write `"valid"`',
    **dict.fromkeys(("Dense", "dense"), "did you mean `linear`?"),
    **dict.fromkeys(("Sequential", "sequential"), "write `a >> b`, or `seq(a, b)`"),
    **dict.fromkeys(("view", "reshape"), "did you mean `flatten`?"),
    **dict.fromkeys(("Add", "add"), "did you mean `sum`?"),
    **dict.fromkeys(("Average", "average", "avg"), "did you mean `mean`?"),
    **dict.fromkeys(("Concatenate", "concatenate", "cat"), "did you mean `concat`?"),
    **dict.fromkeys(("Identity", "identity"), "did you mean `id`?"),
}
"""Names that stand for values elsewhere."""

ALIASES = {
    "epsilon": "eps",
    "filters": "out_channels",
    "heads": "num_heads",
    "input_dim": "num_embeddings",
    "output_dim": "embedding_dim",
    "pool_size": "kernel_size",
    "rate": "p",
    "units": "out_features",
}
"""Parameters of built-ins by the names that they have elsewhere."""

NEEDLESS = {
    **dict.fromkeys(("in_channels", "in_features", "num_features", "input_shape", "input_size"), "it is inferred"),
    "inplace": "nothing is written in place",
    "name": 'a block is named with `let`, `layer`, or `@tag("name")`',
}
"""Parameters elsewhere that built-ins do without, and why."""


def name_help(name: str) -> str | None:
    """Help with an unknown name that has a meaning elsewhere."""
    base = name.lower().replace("_", "")
    if f"{base}2d" in LAYERS and base not in LAYERS:
        return f"there are `{base}1d`, `{base}2d` and `{base}3d`"
    return NAMES.get(name)
