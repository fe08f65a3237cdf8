"""Limits on what a file may hold and evaluate to, so that every check ends soon."""

from __future__ import annotations

MAX_INT = 2**63 - 1
MAX_LIST = 10_000
MAX_ELEMENTS = 100_000  # of a list with the lists in it
MAX_LEVEL = 256
MAX_DEPTH = 40  # of lists in lists
MAX_STEPS = 150_000  # an expression is a step, and so is an element of a list that is made, compared or handed on
MAX_WORK = 200_000  # of the search for levels that do not fall; no file that a person writes needs it


class OutOfSteps(Exception):
    """Evaluation takes longer than MAX_STEPS, which is reported already."""
