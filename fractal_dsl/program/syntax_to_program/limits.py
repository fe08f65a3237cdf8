"""Limits on the size and evaluation of a file, so that every check ends soon."""

from __future__ import annotations

MAX_INT = 2**63 - 1
MAX_LIST = 10_000
MAX_ELEMENTS = 100_000  # of a list, including nested lists
MAX_LEVEL = 256
MAX_LIST_DEPTH = 40  # depth of nested lists
MAX_STEPS = 150_000  # a step is an evaluated expression, or a list element that is created, compared or passed on
MAX_WORK = 200_000  # of the termination check; far more than a handwritten file needs


class OutOfSteps(Exception):
    """Evaluation takes more than MAX_STEPS steps; the error has been reported."""
