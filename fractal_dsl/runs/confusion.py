"""The confusion matrix of a run as HTML: how often each class was taken for each other one."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.base.escaping import markup
from fractal_dsl.runs.page import table

Counts = Sequence[Sequence[int]]
"""A row for each class, a column for each answer."""

_NUMBERED = 20  # classes up to which the cells have numbers and names
_DEEPEST = 0.55  # so that numbers stay readable
_LISTED = 10
_ACROSS = 40  # characters of all names, beyond which the head is written downwards


def confusion_html(counts: Counts, names: Sequence[str], examples: str) -> str:
    """The matrix, whose cells show their numbers under the pointer, and the most frequent confusions."""
    dense = len(names) > _NUMBERED
    downwards = ' class="down"' if sum(map(len, names)) > _ACROSS else ""
    head = "".join(f"<th{downwards}><span>{markup(name)}</span></th>" for name in names)
    rows = "\n".join(_row(i, row, names, dense) for i, row in enumerate(counts))
    thead = "" if dense else f"<thead><tr><th></th>{head}</tr></thead>"
    caption = f"A row for each class, a column for each answer: numbers of test {examples}. Blue: right. Orange: wrong."
    return "\n".join(
        [
            f'<div class="scroll"><table class="confusion{" dense" * dense}">{thead}',
            f"<tbody>\n{rows}\n</tbody></table></div>",
            f'<p class="note">{markup(caption)}{" Point at a cell for its classes." * dense}</p>',
            *_most_frequent(counts, names),
        ]
    )


def _row(i: int, row: Sequence[int], names: Sequence[str], dense: bool) -> str:
    total = max(1, sum(row))
    cells: list[str] = []
    for j, count in enumerate(row):
        colour, share = "right" if i == j else "wrong", count / total
        shade = f' style="background: rgba(var(--{colour}), {_DEEPEST * share:.3f})"' if count else ""
        title = markup(f"{names[i]}, answered {names[j]}: {count:,} of {sum(row):,} ({share:.1%})")
        cells.append(f'<td title="{title}"{shade}>{"" if dense or not count else f"{count:,}"}</td>')
    head = "" if dense else f"<th>{markup(names[i])}</th>"
    return f"<tr>{head}{''.join(cells)}</tr>"


def _most_frequent(counts: Counts, names: Sequence[str]) -> list[str]:
    wrong = [(count, i, j) for i, row in enumerate(counts) for j, count in enumerate(row) if count and i != j]
    listed = sorted(wrong, key=lambda one: (-one[0], one[1], one[2]))[:_LISTED]
    if not listed or len(names) <= 2:
        return []
    rows = {f"{names[i]}, answered {names[j]}": [f"{n:,}", f"{n / sum(counts[i]):.1%}"] for n, i, j in listed}
    return ["<h3>The most frequent confusions</h3>", table(rows, ["number", "share of the class"])]
