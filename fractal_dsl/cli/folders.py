"""The .frac files of a folder."""

from __future__ import annotations

import os
from pathlib import Path

from fractal_dsl.base.escaping import one_line
from fractal_dsl.cli.say import say
from fractal_dsl.language.diagnostics import FracError, Report
from fractal_dsl.language.imports import load
from fractal_dsl.language.read import read
from fractal_dsl.stored.kinds import kind_of


def specs_in(folder: str) -> list[str]:
    """All .frac files of a folder but hidden ones and those of compiled folders, runs and sweeps. Says if there are
    none."""
    inside: list[str] = []
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "." and kind_of(Path(here, name)) is None]
        inside += [str(Path(here, n)) for n in names if n.endswith(".frac") and n[0] != "."]
    if not inside:
        say(f"{one_line(folder)}: no .frac files found", error=True)
    return sorted(inside)


def importers(specs: list[str]) -> dict[str, str]:
    """The files of a list that another one imports, directly or not, each with one that nobody imports.

    Their parameters may have no values, and their imports may lie outside their own folder, so they are checked with
    the importer. Files that import each other in a circle are left out.
    """
    known = {Path(spec).resolve(): spec for spec in specs}
    parts = {spec: [known[path] for path in _imports(spec) if path in known] for spec in specs}
    imported = {part for spec, inside in parts.items() for part in inside if part != spec}
    return {part: root for root in specs if root not in imported for part in parts[root]}


def _imports(spec: str) -> list[Path]:
    """The files that a file imports, directly or not; none if it cannot be read."""
    try:
        source = read(spec)
    except FracError:
        return []
    return [(Path(spec).parent / path).resolve() for path in load(source, Report(source)).paths]
