"""Interpreter settings for work on large nets."""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator
from contextlib import contextmanager

_RECURSION = 50_000  # the evaluator's depth is bounded by MAX_NESTING, MAX_RUN and MAX_LEVEL


@contextmanager
def deep() -> Generator[None]:
    """Allow deep recursion and turn off cyclic garbage collection.

    Everything built inside stays alive, and scanning it again and again would double the time.
    """
    limit, collecting = sys.getrecursionlimit(), gc.isenabled()
    sys.setrecursionlimit(max(limit, _RECURSION))
    gc.disable()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
        if collecting:
            gc.enable()
