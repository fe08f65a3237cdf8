"""The figures of a net as texts, for tables and lines."""

from __future__ import annotations

from fractal_dsl.base.texts import percent
from fractal_dsl.program.program_to_summary.summary import Summary, approximate


def figure_rows(s: Summary) -> list[tuple[str, str]]:
    """The figures of the whole net: names and values. Base layers are counted only where rules place some."""
    base = [("base layers", f"{s.base_layers:,}"), ("depth", f"{s.depth:,} base layers")]
    joins = ", ".join(f"{count:,} of {arity}" for arity, count in sorted(s.joins.items()))
    return [
        *end_rows(s),
        ("parameters", f"{s.params:,}"),
        ("MACs per sample", f"{s.macs:,}"),
        *(base if s.base_layers else ()),
        ("weighted layers", f"{s.weighted_layers:,}"),
        ("weighted depth", f"{s.weighted_depth:,}"),
        ("joins as written", f"{s.joins_raw:,} of 2 inputs" if s.joins_raw else "none"),
        ("joins, collapsed", f"{joins} inputs" if joins else "none"),
        ("paths", approximate(s.paths)),
        *_drop_rows(s),
    ]


def end_rows(s: Summary) -> list[tuple[str, str]]:
    """The shapes of inputs and outputs, with their names where there are several."""
    return [
        (f"{kind} {name}" if len(ends) > 1 else kind, str(list(shape)))
        for kind, ends in (("input", s.inputs), ("output", s.outputs))
        for name, shape in ends.items()
    ]


def _drop_rows(s: Summary) -> list[tuple[str, str]]:
    if not s.drops:
        return []
    drops = dict.fromkeys(map(percent, (s.drops.lowest, s.drops.highest)))
    share = percent(s.training_macs / s.macs) if s.macs else "100%"
    return [
        ("branches dropped", f"{s.drops.branches:,}, with {' to '.join(drops)} (@drop)"),
        ("MACs in training", f"{s.training_macs:,.0f} on average by @drop ({share})"),
    ]


def column_rows(s: Summary) -> list[tuple[str, str, str, str]]:
    """Number, depth in base layers, parameters and MACs of each column. A net without rules has no rows."""
    columns = s.columns if s.base_layers or len(s.columns) > 1 else ()
    return [(str(k), f"{c.depth:,}", f"{c.params:,}", f"{c.macs:,}") for k, c in enumerate(columns, 1)]


def depth_text(s: Summary) -> str:
    """The depth in words: in base layers, or in weighted layers for a net without rules."""
    return f"depth {s.depth:,}" if s.base_layers else f"weighted depth {s.weighted_depth:,}"
