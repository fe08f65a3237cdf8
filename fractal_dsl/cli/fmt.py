"""The command fmt."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import one_line, terminal
from fractal_dsl.base.files import rewrite_text
from fractal_dsl.cli.folders import specs_in
from fractal_dsl.cli.options import STDIN, read_spec
from fractal_dsl.cli.say import say
from fractal_dsl.language.diagnostics import Diagnostic, FracError
from fractal_dsl.language.source import Source
from fractal_dsl.services.formatting import canonical_text
from fractal_dsl.stored.kinds import kind_of, owner


def fmt(
    specs: Annotated[
        list[str],
        typer.Argument(
            metavar="SPEC",
            help="Files, folders to search for *.frac, or - for standard input.",
            show_default=False,
        ),
    ],
    check: Annotated[bool, typer.Option("--check", help="Write nothing. Exit with 1 if a file would change.")] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Write nothing. Print the changes, and exit with 1 if there are any.")
    ] = False,
) -> None:
    """Format files in the canonical style. Keeps comments and line endings.

    Files with syntax errors stay unchanged. Standard input is formatted to standard output.
    """
    changed = False
    errors: list[Diagnostic] = []
    cut = 0
    for spec in dict.fromkeys(_files(specs)):
        _refuse_stored(spec)
        try:
            source = read_spec(spec)
            formatted = canonical_text(source)
        except FracError as error:
            errors, cut = errors + error.diagnostics, cut + error.cut
            continue
        if spec == STDIN and not (check or diff):
            sys.stdout.write(formatted)
            continue
        if formatted == source.text:
            continue
        changed = True
        if diff:
            shown = terminal if sys.stdout.isatty() else str  # `patch` needs the text as it is
            sys.stdout.writelines(map(shown, _patch(source, formatted)))
            say(f"{one_line(source.name)}: would be formatted", error=True)
        elif check:
            say(f"{one_line(source.name)}: would be formatted")
        else:
            rewrite_text(Path(spec), formatted)
            say(f"{one_line(spec)}: formatted")
    if errors:
        raise FracError(errors, cut)
    if changed and (check or diff):
        raise typer.Exit(1)


def _files(specs: Sequence[str]) -> Iterator[str]:
    """The files to format. A folder stands for its .frac files, except hidden ones and those in folders with a spec."""
    for spec in specs:
        if not Path(spec).is_dir():
            yield spec
            continue
        if (kind := kind_of(Path(spec))) is not None:
            raise UserError(f"{spec} is a {kind}, {_KEPT}")
        yield from specs_in(spec)


_KEPT = "whose spec must not change: format the original file"


def _refuse_stored(spec: str) -> None:
    """Refuse a spec inside a compiled folder, a run or a sweep: a change would damage the folder."""
    if spec != STDIN and (folder := owner(Path(spec))):
        raise UserError(f"{spec} belongs to the {kind_of(folder)} {folder.name}, {_KEPT}")


def _patch(source: Source, formatted: str) -> Iterator[str]:
    """The change as a unified diff."""
    import difflib

    before, after = [re.findall(r"[^\n]*\n|[^\n]+", text) for text in (source.text, formatted)]
    name = one_line(source.name)
    for line in difflib.unified_diff(before, after, name, name):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
