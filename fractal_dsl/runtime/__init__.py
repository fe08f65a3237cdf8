"""Everything that needs torch, and nothing else does."""

from __future__ import annotations

import os

# threads that spin while they wait cost a busy machine tens of times their worth; it must be said before torch loads
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from fractal_dsl.runtime.build import build
from fractal_dsl.runtime.module import FractalModule

__all__ = ["FractalModule", "build"]
