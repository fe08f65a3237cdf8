"""How many examples property tests try: `make test-all` tries four times as many as `make test`."""

from __future__ import annotations

import os


def examples(number: int) -> int:
    """The number, times what the environment asks for."""
    return max(1, round(number * float(os.environ.get("EXAMPLES", "1"))))
