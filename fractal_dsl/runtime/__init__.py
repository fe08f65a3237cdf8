"""The network as torch modules, and how it runs.

In: a labelled ``JoinGraph``. Out: a ``FractalModule``, the schedules of its plans and columns, artifacts.
Not imported here: ``data`` and above. Folders below this one do not import torch."""

from __future__ import annotations

import os

# spinning threads slow a busy machine down many times over; torch reads this variable when it loads
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from fractal_dsl.runtime.build import build
from fractal_dsl.runtime.module import FractalModule

__all__ = ["FractalModule", "build"]
