"""Colours. Fills are light enough for dark text on them (contrast over 7), outlines dark enough to be seen on white
(contrast over 3), and both differ in lightness as well as in hue, after Okabe and Ito's palette for colour blindness.
"""

from __future__ import annotations

from typing import Final

TEXT: Final = "#1f2328"
MUTED: Final = "#57606a"
LINE: Final = "#57606a"
BAR: Final = "#24292f"
ON_BAR: Final = "#ffffff"
PAPER: Final = "#ffffff"
FRAME: Final = {"block": ("#f6f8fa", "#8c959f"), "layer": ("#ffffff", "#8c959f")}
"""Fill and outline of the frame around a block, and around the call of a user's layer."""

FAMILIES: Final = {
    "conv": ("#bfdcf2", "#0072b2"),
    "pool": ("#fbdca6", "#a66a00"),
    "norm": ("#c4ead9", "#00805c"),
    "dropout": ("#e3e5e8", "#6e7781"),
    "linear": ("#f2cde0", "#a8457f"),
    "activation": ("#f8f2ae", "#857a00"),
    "attention": ("#fbcbb3", "#c24e00"),
    "shape": ("#ffffff", "#6e7781"),
    "input": ("#ffffff", "#24292f"),
    "output": ("#ffffff", "#24292f"),
}
"""Fill and outline by family of layer."""
