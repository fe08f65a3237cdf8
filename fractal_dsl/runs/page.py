"""A web page that needs no other file: what all pages of results share, in light and in dark."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from fractal_dsl.base.escaping import markup
from fractal_dsl.runs.plots import dark_colours

TextRows = Mapping[str, Sequence[str]]
"""Rows by name, with a cell for each column."""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #222; --paper: #fff; --soft: #555; --line: #ddd; --panel: #f6f6f6;
  --right: 0, 114, 178; --wrong: 213, 94, 0 }}
body {{ font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: {width};
  margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere }}
h1 {{ font-size: 1.7rem; margin-bottom: 0 }} h2 {{ font-size: 1.2rem; margin-top: 2.2rem }} h3 {{ font-size: 1rem }}
table {{ border-collapse: collapse }} .scroll {{ overflow-x: auto }}
th, td {{ padding: .25rem 1rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; overflow-wrap: break-word }}
td.n, th.n {{ text-align: right; white-space: nowrap }}
figure {{ margin: 1rem 0; overflow-x: auto }} figure svg {{ max-width: 100%; height: auto }}
figure.plot svg {{ min-width: 34rem }}
figcaption, .note {{ color: var(--soft) }}
{style}@media (prefers-color-scheme: dark) {{
:root {{ --ink: #e4e4e4; --paper: #15181c; --soft: #a8adb3; --line: #33373d; --panel: #1e2227;
  --right: 90, 176, 232; --wrong: 255, 138, 61 }}
figure:not(.plot, .net) svg {{ background: #fff }}
{dark}
}}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def page(title: str, parts: Iterable[str], width: str, style: str = "") -> str:
    """The HTML of a page. ``title`` is text; ``parts`` are HTML, without the empty ones; ``style`` is more CSS.

    ``width`` is the largest width of the text, as in CSS: ``"64rem"``.
    """
    body = "\n".join(part for part in parts if part)
    return _PAGE.format(title=markup(title), body=body, width=width, style=style, dark=dark_colours("figure.plot"))


def table(rows: TextRows, head: Sequence[str] = ()) -> str:
    """A table. Its cells are numbers if there is a head."""

    def row(cells: Sequence[str], tag: str) -> str:
        inner = (f"<{tag}{' class=n' if i and head else ''}>{markup(c)}</{tag}>" for i, c in enumerate(cells))
        return f"<tr>{''.join(inner)}</tr>"

    body = "\n".join(row([name, *cells], "td") for name, cells in rows.items())
    return f'<div class="scroll"><table>\n{row(["", *head], "th") if head else ""}{body}\n</table></div>'


_SORTED = """\
.sorted td:not(:last-child) { white-space: nowrap } .sorted td:last-child { min-width: 12rem }
.sorted button { all: unset; cursor: pointer; font-weight: 600 }
.sorted button:focus-visible { outline: 2px solid }
.sorted [aria-sort] button::after { content: " ↑" } .sorted [aria-sort=descending] button::after { content: " ↓" }
"""
_SORT = """\
for (const table of document.querySelectorAll("table.sorted"))
  table.tHead.addEventListener("click", ({target}) => {
    const head = target.closest("th"), rows = [...table.tBodies[0].rows], at = head?.cellIndex;
    if (!target.closest("button")) return;
    const down = head.ariaSort === "ascending", value = row => row.cells[at].dataset.v ?? "";
    const known = rows.filter(value), numbers = known.every(row => !isNaN(value(row)));
    known.sort((a, b) => numbers ? value(a) - value(b) : value(a).localeCompare(value(b)));
    if (down) known.reverse();
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    table.tBodies[0].append(...known, ...rows.filter(row => !value(row)));
  });
"""


class Cell(Struct, frozen=True):
    """A cell of a sorted table: its HTML, and what it is sorted by. Rows without a value stay at the end."""

    html: str
    value: float | str | None


def sorted_table(head: Sequence[str], rows: Iterable[tuple[str, Sequence[Cell]]]) -> str:
    """A table that a click on a heading sorts by it, with its style and script. A row has a class and its cells."""
    names = "".join(f'<th><button type="button">{markup(name)}</button></th>' if name else "<th></th>" for name in head)
    body = "\n".join(f"<tr{f' class={kind}' * bool(kind)}>{''.join(map(_cell, cells))}</tr>" for kind, cells in rows)
    table = f'<table class="sorted">\n<thead><tr>{names}</tr></thead>\n<tbody>{body}</tbody>\n</table>'
    return f'<style>{_SORTED}</style>\n<div class="scroll">{table}</div>\n<script>{_SORT}</script>'


def _cell(cell: Cell) -> str:
    value = "" if cell.value is None else f' data-v="{markup(str(cell.value))}"'
    return f"<td{value}>{cell.html}</td>"


def figure(text: str, caption: str, kind: str = "plot") -> str:
    """An SVG inline, with a caption; empty if the text has none."""
    match = re.search(r"<svg\b.*</svg>", text, re.DOTALL)
    if not match:
        return ""
    svg = match[0].replace("<svg", f'<svg role="img" aria-label="{markup(caption)}"', 1)
    return f'<figure class="{kind}">\n<div>{svg}</div>\n<figcaption>{markup(caption)}</figcaption>\n</figure>'
