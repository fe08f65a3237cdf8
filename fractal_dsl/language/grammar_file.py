"""Find the grammar: inside an installed package, or beside it in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_PLACES = (_PACKAGE / "grammar" / "frac.lark", _PACKAGE.parent / "grammar" / "frac.lark")


def grammar_path() -> Path:
    """The path of `frac.lark`: the wheel's copy, else the checkout's.

    Raises FileNotFoundError, naming both places, if the installation is broken.
    """
    for place in _PLACES:
        if place.is_file():
            return place
    looked = " nor ".join(map(str, _PLACES))
    raise FileNotFoundError(f"the grammar of Frac is missing: there is no {looked}. Reinstall fractal_dsl")
