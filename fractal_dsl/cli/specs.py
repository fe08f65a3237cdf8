"""The command check."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from fractal_dsl import pipeline
from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import one_line
from fractal_dsl.base.texts import counted
from fractal_dsl.cli.grouped import SpecOptions
from fractal_dsl.cli.options import AllowPython, MaxLayers, Params, ParamsFile, Watch, read_spec
from fractal_dsl.cli.say import say, warn
from fractal_dsl.compiled import MAX_LAYERS
from fractal_dsl.language.diagnostics import Diagnostic, FracError
from fractal_dsl.language.source import Source, Span

_SPECS = ".frac files, folders to search for *.frac, - for standard input, compiled folders, or training runs."


class OutputFormat(enum.StrEnum):
    """The output of ``check``."""

    text = "text"
    json = "json"


def check(
    specs: Annotated[list[str], typer.Argument(metavar="SPEC", help=_SPECS, show_default=False)],
    param: Params = None,
    params: ParamsFile = None,
    format: Annotated[OutputFormat, typer.Option(help="Text for people or JSON for tools.")] = OutputFormat.text,
    max_layers: MaxLayers = MAX_LAYERS,
    allow_python: AllowPython = False,
    watch: Watch = False,
) -> None:
    """Check files: syntax, names, types, shapes and sizes. Loads torch only for `nn.` layers and `extern`."""

    def once() -> None:
        _check(specs, format, lambda spec: SpecOptions(spec, param, params, None, max_layers, allow_python))

    if watch:
        from fractal_dsl.cli.watch import watching

        watching(specs, once)
    else:
        once()


def _check(specs: list[str], format: OutputFormat, options: Callable[[str], SpecOptions]) -> None:
    """Check the specs, and print what was found. Raises FracError with all errors."""
    errors: dict[str, Diagnostic] = {}  # by text: an error in a file that two specs import appears once
    warned: dict[str, Diagnostic] = {}
    cut = 0
    with errors_as_json(format is OutputFormat.json):
        for spec, importer in _files(specs).items():
            if importer:
                if format is OutputFormat.text:
                    say(f"{one_line(spec)}: checked with {one_line(importer)}, which imports it")
                continue
            try:
                names, warnings = _checked(options(spec))
                warned |= {d.text(): d for d in warnings}
            except FracError as error:
                errors |= {d.text(): d for d in error.diagnostics}
                warned |= {d.text(): d for d in error.warnings}
                cut += error.cut
            else:
                if format is OutputFormat.text:
                    say(f"{one_line(spec)}: ok ({names})")
        if errors:
            raise FracError(errors.values(), cut, warned.values())
    if format is OutputFormat.json:
        say(json.dumps([d.json() for d in warned.values()], indent=2))
    elif warned:
        warn(warned.values())
        say(f"\n{counted(len(warned), 'warning')}", error=True)


def _files(specs: list[str]) -> dict[str, str]:
    """The specs to check, with those in folders. A file in a folder that another file there imports is checked with
    that one, whose name it has here."""
    result: dict[str, str] = {}
    for spec in specs:
        if not Path(spec).is_dir() or _is_stored(Path(spec)):
            result[spec] = ""
            continue
        from fractal_dsl.cli.folders import importers, specs_in

        inside = specs_in(spec)
        roots = importers(inside)
        result = {file: roots.get(file, "") for file in inside} | result
    return result


def _checked(options: SpecOptions) -> tuple[str, tuple[Diagnostic, ...]]:
    """The names of the nets of a spec, and the warnings about it. Raises FracError if it has errors."""
    spec, params = options.spec, options.params()
    if not options.is_folder():
        checked = pipeline.checked(read_spec(spec), params, options.max_layers, allow_python=options.allow_python)
        return ", ".join(net.program.net for net in checked.nets) or "no nets", checked.warnings
    from fractal_dsl.cli.given import given_folder

    try:
        stored = given_folder(options)
    except UserError as error:
        raise FracError([Diagnostic("E0001", str(error), Source(spec, ""), Span(0, 0))]) from None
    return f"{stored.kind}: {stored.describe()}", stored.compiled.warnings


def _is_stored(folder: Path) -> bool:
    from fractal_dsl.stored.kinds import kind_of

    return kind_of(folder) is not None


@contextmanager
def errors_as_json(wanted: bool) -> Generator[None]:
    """Print the errors of a spec as JSON if ``wanted``, and exit with 1."""
    try:
        yield
    except FracError as error:
        if not wanted:
            raise
        say(json.dumps([d.json() for d in (*error.diagnostics, *error.warnings)], indent=2))
        raise typer.Exit(1) from None
