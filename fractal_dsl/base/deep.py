"""What work on large nets needs of the interpreter."""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator
from contextlib import contextmanager

_RECURSION = 50_000  # the evaluator's depth is bounded by MAX_NESTING, MAX_RUN and MAX_LEVEL


@contextmanager
def deep() -> Generator[None]:
    """Room for deep recursion, and no cyclic garbage collection: all that is made lives on, and looking through it
    again and again doubles the time."""
    limit, collecting = sys.getrecursionlimit(), gc.isenabled()
    sys.setrecursionlimit(max(limit, _RECURSION))
    gc.disable()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
        if collecting:
            gc.enable()
