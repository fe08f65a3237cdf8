"""How many examples property tests try: `make test` tries the same ones everywhere, and `make test-all` four times as
many, which are new each time."""

from __future__ import annotations

import os


def examples(number: int) -> int:
    """The number, times what the environment asks for."""
    return max(1, round(number * float(os.environ.get("EXAMPLES", "1"))))
