"""A compiler for fractal neural networks: from a recurrence in a ``.frac`` file to a trained PyTorch net.

>>> import fractal_dsl
>>> compiled = fractal_dsl.compile_file("examples/digits.frac", {"columns": "4"})
>>> compiled.summary.depth
24
>>> model = fractal_dsl.build(compiled, seed=1)  # imports torch

Names that need torch are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fractal_dsl.diagnostics import Diagnostic, FracError, UserError
from fractal_dsl.driver import Compiled, compile_file, compile_text
from fractal_dsl.version import __version__

if TYPE_CHECKING:
    from fractal_dsl.runtime import FractalModule, build
    from fractal_dsl.runtime.anytime import Answer, Anytime, anytime
    from fractal_dsl.runtime.artifact import load_artifact, save_artifact

__all__ = [
    "Answer",
    "Anytime",
    "Compiled",
    "Diagnostic",
    "FracError",
    "FractalModule",
    "UserError",
    "__version__",
    "anytime",
    "build",
    "compile_file",
    "compile_text",
    "load_artifact",
    "save_artifact",
]

_TORCH_SIDE = {
    "Answer": "fractal_dsl.runtime.anytime",
    "Anytime": "fractal_dsl.runtime.anytime",
    "FractalModule": "fractal_dsl.runtime.module",
    "anytime": "fractal_dsl.runtime.anytime",
    "build": "fractal_dsl.runtime.module",
    "load_artifact": "fractal_dsl.runtime.artifact",
    "save_artifact": "fractal_dsl.runtime.artifact",
}


def __getattr__(name: str) -> Any:
    if name not in _TORCH_SIDE:
        raise AttributeError(f"module 'fractal_dsl' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_TORCH_SIDE[name]), name)
