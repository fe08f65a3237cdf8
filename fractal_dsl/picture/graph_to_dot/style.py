"""Colours, light and dark.

Text has a contrast over 7 on light fills and over 4.5 on dark ones; outlines have a contrast over 3 on the paper.
Colours differ in lightness as well as in hue, after Okabe and Ito's palette for colour blindness. Costs use one ramp
whose lightness falls evenly. A colour never has two meanings that the other theme shows in two colours, so a table of
colours is enough to change the theme of a picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct


class Theme(Struct, frozen=True):
    """One set of colours.

    ``families`` has the fill and outline of each family of layers, ``frames`` those of each kind of frame. ``live`` is
    the colour of lines that a plan leaves live; ``dropped`` has the line, fill and text of parts that it drops.
    ``ramp`` goes from the lowest to the highest cost, with a readable text colour for each fill.
    """

    paper: str
    text: str
    muted: str
    line: str
    bar: str
    on_bar: str
    live: str
    dropped: tuple[str, str, str]
    frames: dict[str, tuple[str, str]]
    families: dict[str, tuple[str, str]]
    ramp: tuple[tuple[str, str], ...]
    ramp_line: str

    def colours(self) -> Iterator[str]:
        """Every colour, in one order for all themes."""
        yield from (self.paper, self.text, self.muted, self.line, self.bar, self.on_bar, self.live, *self.dropped)
        for table in (self.frames, self.families):
            for key in sorted(table):
                yield from table[key]
        for pair in self.ramp:
            yield from pair
        yield self.ramp_line


LIGHT: Final = Theme(
    paper="#ffffff",
    text="#1f2328",
    muted="#57606a",
    line="#59636e",
    bar="#24292f",
    on_bar="#fefefe",
    live="#0f1419",
    dropped=("#c9d1d9", "#fafbfc", "#848d97"),
    frames={"block": ("#f6f8fa", "#8b949e"), "layer": ("#fcfcfd", "#8d969f"), "tag": ("#fcfdfc", "#8e97a0")},
    families={
        "conv": ("#bfdcf2", "#0072b2"),
        "pool": ("#fbdca6", "#a66a00"),
        "norm": ("#c4ead9", "#00805c"),
        "dropout": ("#e3e5e8", "#6e7781"),
        "linear": ("#f2cde0", "#a8457f"),
        "activation": ("#f8f2ae", "#857a00"),
        "attention": ("#fbcbb3", "#c24e00"),
        "shape": ("#fdfdfd", "#6f7882"),
        "closed": ("#e9edf2", "#46505c"),
        "input": ("#fdfefd", "#24292e"),
        "output": ("#fdfefe", "#24292d"),
    },
    ramp=(
        ("#f2f5f9", "#1f2329"),
        ("#cfdcec", "#1f232a"),
        ("#a5c2e0", "#1f232b"),
        ("#6f9fce", "#1f232c"),
        ("#3a74ad", "#fffffe"),
        ("#1d4f88", "#fffffd"),
        ("#0b2d5c", "#fffffc"),
    ),
    ramp_line="#3b4550",
)

DARK: Final = Theme(
    paper="#0d1117",
    text="#e6edf3",
    muted="#9aa5b1",
    line="#8b98a5",
    bar="#d0d7de",
    on_bar="#0d1117",
    live="#f0f6fc",
    dropped=("#3d444d", "#12171e", "#6e7681"),
    frames={"block": ("#161b22", "#5c6670"), "layer": ("#11161d", "#5c6670"), "tag": ("#11161d", "#5c6670")},
    families={
        "conv": ("#12405f", "#56b4e9"),
        "pool": ("#55390a", "#e69f00"),
        "norm": ("#0b4635", "#2fbf92"),
        "dropout": ("#30363d", "#8b949e"),
        "linear": ("#55203f", "#e58abb"),
        "activation": ("#474108", "#d9cb3c"),
        "attention": ("#5c2a0c", "#f0884a"),
        "shape": ("#161b22", "#8b949e"),
        "closed": ("#2a323c", "#b1bac4"),
        "input": ("#0d1117", "#e6edf3"),
        "output": ("#0d1117", "#e6edf3"),
    },
    ramp=(
        ("#161d27", "#e6edf3"),
        ("#1b3048", "#e6edf3"),
        ("#1f4a73", "#e6edf3"),
        ("#2f6ca3", "#f6f8fa"),
        ("#5b96cc", "#0d1117"),
        ("#97c0e6", "#0d1117"),
        ("#dcebf9", "#0d1117"),
    ),
    ramp_line="#9aa5b1",
)

FAMILY_NAMES: Final = {
    "conv": "convolution",
    "pool": "pooling",
    "norm": "normalisation",
    "dropout": "dropout",
    "linear": "linear",
    "activation": "activation",
    "attention": "attention",
    "shape": "reshaping, positions",
    "closed": "a part that is not opened",
}
"""The families as a legend names them, in its order."""


def follow_reader() -> str:
    """CSS that gives an SVG in the light theme the dark one if the reader's system is dark."""
    changes = dict(zip(LIGHT.colours(), DARK.colours(), strict=True))
    rules = (f'[fill="{a}"]{{fill:{b}}}[stroke="{a}"]{{stroke:{b}}}' for a, b in changes.items())
    return f"@media (prefers-color-scheme: dark) {{{''.join(rules)}}}"
