"""The command render."""

from __future__ import annotations

import enum
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import one_line
from fractal_dsl.cli.given import given_spec, place_beside
from fractal_dsl.cli.grouped import SpecOptions, with_group
from fractal_dsl.cli.options import PLANS, STDIN, Watch
from fractal_dsl.cli.say import say
from fractal_dsl.picture.shown import BoxLabel, DrawnGraph, HeatOf, NotDrawn, Shown, View
from fractal_dsl.stored.kinds import kind_of

if TYPE_CHECKING:
    from fractal_dsl.picture.graph_to_dot import Look


class ThemeName(enum.StrEnum):
    """Colours; in an SVG, ``auto`` follows the reader's settings."""

    light = "light"
    dark = "dark"
    auto = "auto"


OutputOption = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Picture to write: .svg, .png, .pdf, .dot or .html; - prints an SVG; by default NAME.svg beside "
        "NAME.frac, FOLDER-compiled.svg beside a compiled folder, or RUN-run.svg beside a run.",
    ),
]
PlanOption = Annotated[
    str | None,
    typer.Option(metavar="PLAN", help=f"Grey out what a plan drops: {PLANS}; all: several plans in a row."),
]
Depth = Annotated[int | None, typer.Option(min=0, help="Open nested parts to this depth; by default as fits a page.")]
Expand = Annotated[list[str] | None, typer.Option(metavar="NAME", help="Open this part. Repeat for more.")]
Wrap = Annotated[
    int | None, typer.Option(min=1, help="Number of parts to draw side by side; by default as many as fit a page.")
]


@with_group
def render(
    *,
    output: OutputOption = None,
    view: Annotated[
        View, typer.Option(help="Draw the net, a block, the rule, or all three as in the paper's figure.")
    ] = View.net,
    block: Annotated[int, typer.Option(min=1, help="Number of the block for --view block and figure.")] = 1,
    stage: Annotated[
        DrawnGraph, typer.Option(help="Draw the graph with the two-input joins of the rule (raw) or collapsed joins.")
    ] = DrawnGraph.collapsed,
    plan: PlanOption = None,
    label: Annotated[BoxLabel, typer.Option(help="Second line in each box.")] = BoxLabel.none,
    heat: Annotated[
        HeatOf | None, typer.Option(help="Colour boxes by their cost, or by measurements of a training run.")
    ] = None,
    depth: Depth = None,
    expand: Expand = None,
    wrap: Wrap = None,
    theme: Annotated[
        ThemeName, typer.Option(help="Colours; auto follows the reader's light or dark mode.")
    ] = ThemeName.light,
    legend: Annotated[bool, typer.Option(help="Explain the colours.")] = True,
    watch: Watch = False,
    options: SpecOptions,
) -> None:
    """Draw a net in the style of the paper's figures."""
    from fractal_dsl.picture.graph_to_dot import DARK, LIGHT, Look, Opening

    place = _picture_place(options.spec, output)
    colours = DARK if theme is ThemeName.dark else LIGHT
    look = Look(label.value, None, colours, legend, wrap, Opening(depth, frozenset(expand or ())))
    choices = {"view": view, "block": block, "stage": stage, "plan": plan, "heat": heat}

    def once() -> None:
        _draw(options, choices, look, place, theme)

    if watch:
        from fractal_dsl.cli.watch import watching

        if place is None or Path(options.spec).is_dir():
            raise typer.BadParameter("only a file can be watched, and drawn to a file", param_hint="--watch")
        watching([options.spec], once)
    else:
        once()


def _draw(options: SpecOptions, choices: Mapping[str, Any], look: Look, place: Path | None, theme: ThemeName) -> None:
    """Read the net and draw it. ``choices`` are what to draw, as ``Shown`` takes them."""
    from fractal_dsl.runs.measured import measured

    compiled, stored = given_spec("render", options, settings=False)
    measures = partial(measured, stored.folder) if stored and stored.kind == "training run" else None
    try:
        shown = Shown(compiled, measured=measures, **choices)
    except NotDrawn as error:
        raise typer.BadParameter(str(error), param_hint=error.option) from None
    _write(shown, look, place, theme)
    if note := shown.note:
        say(note, error=place is None)


def _picture_place(spec: str, output: Path | None) -> Path | None:
    """The file to draw; None for standard output. Raises UserError if it cannot or should not be written."""
    from fractal_dsl.picture.dot_to_picture import PICTURE_FORMATS, is_picture_of_ours

    if output == Path(STDIN):
        return None
    place = output or place_beside(spec, _ending(spec), "the picture")
    if place.suffix.lower() not in (known := [f".{format}" for format in (*PICTURE_FORMATS, "html")]):
        raise UserError(f"cannot draw {place}: its name must end in {', '.join(known)}")
    if not place.parent.is_dir():
        raise UserError(
            f"cannot write {place}: there is no folder {place.parent}. Create it, or choose another with -o"
        )
    if output is None and place.exists() and not is_picture_of_ours(place):
        raise UserError(
            f"{place} exists and was not drawn by fractal-dsl: choose another name with -o, or replace it with "
            f"-o {place}"
        )
    return place


def _ending(spec: str) -> str:
    """The ending of a picture's default name. A folder often has the name of its spec, so its pictures differ."""
    if spec == STDIN or not Path(spec).is_dir():
        return ".svg"
    return "-run.svg" if kind_of(Path(spec)) == "training run" else "-compiled.svg"


def _write(shown: Shown, look: Look, place: Path | None, theme: ThemeName) -> None:
    """Write the picture and print its place, or print the picture."""
    from fractal_dsl.picture.dot_to_picture import draw, svg_text
    from fractal_dsl.picture.graph_to_dot import follow_reader

    style = follow_reader() if theme is ThemeName.auto else ""
    if place is None:
        sys.stdout.write(svg_text(shown.dot(look), Path("standard output"), style=style))
        return
    if place.suffix.lower() == ".html":
        from fractal_dsl.picture.dot_to_page import write_picture_page

        write_picture_page(*shown.page(look), shown.compiled.program.net, follow_reader(), place)
    else:
        draw(shown.dot(look), place, style=style)
    say(one_line(str(place)))
