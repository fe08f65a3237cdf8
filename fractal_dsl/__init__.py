"""A compiler for fractal neural networks: from a recurrence in a ``.frac`` file to a trained PyTorch net.

>>> import fractal_dsl
>>> compiled = fractal_dsl.compile_file("examples/digits.frac", {"columns": "4"})
>>> compiled.summary.depth
24
>>> model = fractal_dsl.build(compiled, seed=1)  # imports torch

Names are imported on first use, because some need torch. Docstrings cite sections of "the paper": Larsson, Maire and
Shakhnarovich, "FractalNet: Ultra-Deep Neural Networks without Residuals", ICLR 2017 (arXiv 1605.07648).
"""

from __future__ import annotations

from fractal_dsl.base.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fractal_dsl.base.errors import UserError
    from fractal_dsl.compiled import Compiled
    from fractal_dsl.importing import from_torch
    from fractal_dsl.language.diagnostics import Diagnostic, FracError
    from fractal_dsl.pipeline import compile_file, compile_text
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
    "from_torch",
    "load_artifact",
    "save_artifact",
]

_MODULES = {
    "Answer": "fractal_dsl.runtime.anytime",
    "Anytime": "fractal_dsl.runtime.anytime",
    "Compiled": "fractal_dsl.pipeline",
    "Diagnostic": "fractal_dsl.language.diagnostics",
    "FracError": "fractal_dsl.language.diagnostics",
    "FractalModule": "fractal_dsl.runtime.module",
    "UserError": "fractal_dsl.base.errors",
    "anytime": "fractal_dsl.runtime.anytime",
    "build": "fractal_dsl.runtime.build",
    "compile_file": "fractal_dsl.pipeline",
    "compile_text": "fractal_dsl.pipeline",
    "from_torch": "fractal_dsl.importing",
    "load_artifact": "fractal_dsl.runtime.artifact",
    "save_artifact": "fractal_dsl.runtime.artifact",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'fractal_dsl' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
