"""The page of a shelf: its table, and accuracy against latency. It works offline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fractal_dsl.base.escaping import markup
from fractal_dsl.base.parts import write_part
from fractal_dsl.base.texts import counted, ends_text, memory_text
from fractal_dsl.deploy.shelf import Shelf, ShelfRow
from fractal_dsl.runs.page import figure, page

_COLOURS = {"onnx": "#0072B2", "pt2": "#D55E00", "aoti": "#009E73", "executorch": "#CC79A7", "openvino": "#8A7A00"}
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 860, 420, 70, 30, 20, 50

_STYLE = """\
table { font-size: .92rem } th, td { white-space: nowrap }
tr.front td:first-child { font-weight: 600 } tr.bad { color: #a00 }
"""


def write_shelf_page(shelf: Shelf, failures: Mapping[str, str], skipped: Mapping[str, str]) -> None:
    """Write ``shelf.html``."""
    m, rows, how = shelf.manifest, shelf.measured(), conditions(shelf)
    parts = [
        f"<h1>{markup(m.net)}</h1>",
        f'<p class="note">{markup(m.source)}: {ends_text(m.takes)} to {ends_text(m.gives)}. {how}</p>',
        _figure(shelf, rows) if rows and rows[0].score is not None else "",
        _table(shelf),
        _list("Failed", failures),
        _list("Skipped", skipped),
    ]
    write_part(shelf.folder, "shelf.html", page(f"{m.net}: deployed nets", parts, "72rem", _STYLE))


def conditions(shelf: Shelf) -> str:
    """How the rows that can be compared were measured, in sentences. Empty without such rows."""
    m, rows = shelf.manifest, shelf.measured()
    if not rows:
        return ""
    threads = counted(m.threads, "thread")
    how = f"Latency: batches of {m.batch}, {threads}, after {rows[0].warmup} runs to warm up. "
    how += "Memory: the peak of the process during timing."
    if any(row.confidence is not None for row in rows):
        how += f" The anytime net stops at a confidence of {m.confidence:g}."
    return how


def shelf_table(shelf: Shelf) -> list[tuple[str, ...]]:
    """The rows as texts, below a row of headings."""
    head = ("net", "format", "precision", shelf.metric.label, "ms", "p95", "mean", "size", "memory", "difference", "")
    return [head, *(_cells(shelf, row) for row in shelf.rows)]


def _cells(shelf: Shelf, row: ShelfRow) -> tuple[str, ...]:
    size = f"{row.bytes / 1e3:,.0f} kB" if row.bytes < 1e7 else memory_text(row.bytes)
    agreed = f"{row.agreement:.1%} equal" if row.agreement is not None else ""
    apart = agreed or (f"{row.difference:.1e}" if row.difference is not None else "∞")
    score = "" if row.score is None else shelf.metric.text(row.score)
    times = [f"{value:.3g}" for value in (row.ms, row.ms_p95, row.ms_mean)]
    return row.net, row.target, row.precision, score, *times, size, memory_text(row.memory), apart, shelf.note(row)


def _table(shelf: Shelf) -> str:
    head, *cells = shelf_table(shelf)
    front = {row.key for row in shelf.front()}
    lines = [_line("th", head, "")]
    for row, texts in zip(shelf.rows, cells, strict=True):
        lines.append(_line("td", texts, "bad" if not row.verified else "front" if row.key in front else ""))
    note = "Bold: the Pareto front, the nets that no faster one matches." if front else ""
    return f'<div class="scroll"><table>{"".join(lines)}</table></div><p class="note">{note}</p>'


def _line(tag: str, cells: Sequence[str], kind: str) -> str:
    inner = (f"<{tag}{' class=n' if 3 <= i <= 9 else ''}>{markup(c)}</{tag}>" for i, c in enumerate(cells))
    return f"<tr{f' class={kind}' if kind else ''}>{''.join(inner)}</tr>\n"


def _list(title: str, reasons: Mapping[str, str]) -> str:
    items = "".join(f"<li>{markup(name)}: {markup(reason)}</li>" for name, reason in reasons.items())
    return f"<h2>{title}</h2><ul>{items}</ul>" if items else ""


def _figure(shelf: Shelf, rows: Sequence[ShelfRow]) -> str:
    """Score against mean latency, on a logarithmic axis, with the Pareto front as a line."""
    metric = shelf.metric
    x = _Scale([row.ms_mean for row in rows], _LEFT, _WIDTH - _RIGHT, log=True)
    y = _Scale([metric.plotted(row.score or 0.0) for row in rows], _HEIGHT - _BOTTOM, _TOP, log=False)
    marks = [_axes(x, y, metric.axis)]
    front = [f"{x(row.ms_mean):.1f},{y(metric.plotted(row.score or 0.0)):.1f}" for row in shelf.front()]
    marks.append(f'<polyline points="{" ".join(front)}" fill="none" stroke="currentColor" stroke-dasharray="2 4"/>')
    labels = _Labels()
    front_keys = {row.key for row in shelf.front()}
    for row in sorted(rows, key=lambda row: row.key not in front_keys):
        px, py = x(row.ms_mean), y(metric.plotted(row.score or 0.0))
        colour = _COLOURS.get(row.target, "currentColor")
        fill = "var(--paper)" if row.precision == "int8" else colour
        name = markup(f"{row.label}: {metric.text(row.score or 0.0)}, {row.ms_mean:.3g} ms")
        marks.append(
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="6" fill="{fill}" stroke="{colour}" stroke-width="2">'
            f"<title>{name}</title></circle>"
        )
        if labels.fits(px + 9, py - 7, row.net):
            text = f'<text x="{px + 9:.1f}" y="{py - 7:.1f}" font-size="11" fill="var(--soft)">{markup(row.net)}</text>'
            marks.append(text)
    marks += _legend({row.target for row in rows})
    caption = f"{metric.title} against the mean latency of a batch. Dotted: the Pareto front. Hollow: int8."
    svg = (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" fill="currentColor" '
        f'font-family="system-ui, sans-serif">{"".join(marks)}</svg>'
    )
    return figure(svg, caption)


class _Labels:
    """The places of labels. One that would cover another is left out: the mark's tooltip has it."""

    def __init__(self) -> None:
        self.taken: list[tuple[float, float, float]] = []

    def fits(self, x: float, y: float, text: str) -> bool:
        """Whether there is room for a text that begins at x on the line y. If so, it takes the place."""
        end = x + 6.5 * len(text) + 4
        free = all(end < start or x > stop or abs(y - line) > 12 for start, stop, line in self.taken)
        if free:
            self.taken.append((x, end, y))
        return free


class _Scale:
    """Places values between two ends, with some room, linearly or by their logarithm."""

    def __init__(self, values: Sequence[float], start: float, end: float, *, log: bool) -> None:
        self.log = log
        low, high = min(map(self.map, values)), max(map(self.map, values))
        room = max(0.08 * (high - low), 0.05 if log else 0.5)
        self.low, self.high, self.start, self.end = low - room, high + room, start, end

    def map(self, value: float) -> float:
        """The value, or its logarithm."""
        return math.log10(max(value, 1e-6)) if self.log else value

    def __call__(self, value: float) -> float:
        share = (self.map(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values within the ends."""
        if self.log:
            powers = [10.0**p * f for p in range(-6, 7) for f in (1, 2, 5)]
            return [v for v in powers if self.low <= self.map(v) <= self.high]
        width = self.high - self.low
        step = next(s for s in (10.0**p * f for p in range(-6, 7) for f in (1, 2, 5)) if width / s <= 7)
        first = int(self.low / step) + (self.low > 0)
        return [round(i * step, 9) for i in range(first, first + 9) if self.low <= i * step <= self.high]


def _axes(x: _Scale, y: _Scale, label: str) -> str:
    lines: list[str] = []
    for value in x.ticks():
        at, below = f"{x(value):.1f}", _HEIGHT - _BOTTOM
        lines.append(
            f'<line x1="{at}" x2="{at}" y1="{_TOP}" y2="{below}" stroke="var(--line)"/>'
            f'<text x="{at}" y="{below + 18}" font-size="12" text-anchor="middle">{value:g}</text>'
        )
    for value in y.ticks():
        lines.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="var(--line)"/>'
            f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" font-size="12" text-anchor="end">{value:g}</text>'
        )
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    lines.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 10}" font-size="13" text-anchor="middle">'
        f"mean latency of a batch (ms)</text>"
        f'<text x="16" y="{middle}" font-size="13" text-anchor="middle" transform="rotate(-90 16 {middle})">'
        f"{markup(label)}</text>"
    )
    return "".join(lines)


def _legend(targets: set[str]) -> list[str]:
    marks: list[str] = []
    for i, target in enumerate(sorted(targets)):
        at = _HEIGHT - _BOTTOM - 14 - 18 * i
        marks.append(f'<circle cx="{_WIDTH - 130}" cy="{at - 4}" r="5" fill="{_COLOURS.get(target, "currentColor")}"/>')
        marks.append(f'<text x="{_WIDTH - 118}" y="{at}" font-size="12">{markup(target)}</text>')
    return marks
