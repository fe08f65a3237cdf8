"""Numbers in texts that users write."""

from __future__ import annotations

import math
import re

_TOKEN = re.compile(r"[-+]?(?:[\w.]|(?<=\de)[-+])+", re.IGNORECASE)


def not_finite(text: str) -> bool:
    """Whether a text is a number that is not finite: ``inf``, ``nan``, ``-1e999``."""
    try:
        return not math.isfinite(float(text))
    except ValueError:
        return False


def first_not_finite(text: str) -> str | None:
    """The first number in a text that is not finite: ``inf`` of ``[1, inf]``."""
    return next((token for token in _TOKEN.findall(text) if not_finite(token)), None)
