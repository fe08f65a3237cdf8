"""Imports: find each imported file inside the folder of the spec, then read and parse it once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType

from msgspec import Struct, field

from fractal_dsl.base.errors import suggesting
from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.read import near_file
from fractal_dsl.language.source import Source, Span
from fractal_dsl.language.text_to_syntax import text_to_syntax

_LIBRARY = Path(__file__).parent / "std"
MAX_FILES = 200
MAX_IMPORT_DEPTH = 32


_WRITTEN = (
    (r"$", "is not a path", 'write a path relative to this folder, such as `"blocks.frac"` or `"parts/blocks.frac"`'),
    (
        r"/|[A-Za-z]:[/\\]",
        "is an absolute path",
        'write a path relative to this file, such as `"blocks.frac"` or `"parts/blocks.frac"`',
    ),
    (r".*\\", "contains a backslash", "separate folders by `/`"),
)
"""Patterns of invalid paths, each with what is wrong and the help."""


class Files(Struct):
    """A parsed file with everything it imports.

    ``targets`` maps the span of an import's path to the imported file. ``paths`` maps the path of each local file,
    relative to the folder of the main file, to its source. ``name`` is the name of the main file in that folder."""

    main: s.File
    name: str
    targets: dict[Span, s.File] = field(default_factory=dict[Span, s.File])
    paths: dict[str, Source] = field(default_factory=dict[str, Source])

    def params(self) -> Iterator[tuple[str, s.Param, Source]]:
        """The parameters that ``-p`` can set: the name there (``m.columns`` for a file imported as m), the declaration
        and its file."""
        return self._params(self.main, "")

    def _params(self, file: s.File, prefix: str) -> Iterator[tuple[str, s.Param, Source]]:
        for decl in file.decls:
            if isinstance(decl, s.Param):
                yield prefix + decl.name.id, decl, file.source
            elif isinstance(decl, s.Import) and decl.path.span in self.targets:
                yield from self._params(self.targets[decl.path.span], f"{prefix}{decl.name.id}.")

    def texts(self) -> dict[str, str]:
        """The texts by their places in the folder of the main one, which comes first."""
        return {self.name: self.main.source.text, **{path: source.text for path, source in self.paths.items()}}


def load(source: Source, report: Report, opened: Mapping[Path, str] = MappingProxyType({})) -> Files:
    """Parse a source and everything it imports from its folder. Errors go to ``report``.

    ``opened`` holds texts that replace files on disk, by resolved path, such as those of an editor."""
    return _Loader(source, report, opened).load()


class _Loader:
    def __init__(self, source: Source, report: Report, opened: Mapping[Path, str]) -> None:
        self.source, self.report, self.opened = source, report, opened
        self.main = source.path
        self.known: dict[str, s.File] = {}
        self.next_base = source.end + 1

    def load(self) -> Files:
        file = text_to_syntax(self.source, self.report)
        self.files = Files(file, self.main.name if self.main else "spec.frac")
        key = str(self.main)
        self.known[key] = file
        self._imports(file, self.main.parent if self.main else None, [(key, Path(self.source.name).name)])
        return self.files

    def _imports(self, file: s.File, folder: Path | None, chain: list[tuple[str, str]]) -> None:
        for decl in file.decls:
            if not isinstance(decl, s.Import | s.FromImport):
                continue
            place = self._find(decl.path, folder)
            if place is None:
                continue
            key, path = place
            if any(key == k for k, _ in chain):
                names = [name for _, name in chain]
                circle = " -> ".join([*names[[k for k, _ in chain].index(key) :], str(decl.path.value)])
                help = "move what both files need into a third file"
                self.report.error("E0802", decl.path.span, f"these files import each other: {circle}", help=help)
                continue
            if key not in self.known:
                if len(self.known) >= MAX_FILES or len(chain) >= MAX_IMPORT_DEPTH:
                    message = f"over {MAX_FILES} imported files, or imports over {MAX_IMPORT_DEPTH} levels deep"
                    self.report.error("E0602", decl.path.span, message)
                    return
                imported = self._read(decl.path, key, path)
                if imported is None:
                    continue
                self.known[key] = imported
                inner = None if key.startswith("std:") else path.parent
                self._imports(imported, inner, [*chain, (key, str(decl.path.value))])
            self.files.targets[decl.path.span] = self.known[key]

    def _find(self, literal: s.Literal, folder: Path | None) -> tuple[str, Path] | None:
        """A file's key and path; None after an error."""
        text, span = str(literal.value), literal.span
        if text.startswith("std:"):
            path = _LIBRARY / f"{text.removeprefix('std:')}.frac"
            known = library_names()
            if text in known:
                return text, path
            help = suggesting(text, known, f"there are {', '.join(known)}")
            self.report.error("E0804", span, f"the standard library has no `{text}`", help=help)
            return None
        if folder is None or self.main is None:
            message = "a path is relative to a file, and this source is not a file"
            self.report.error("E0801", span, message)
            return None
        if "://" in text:
            message = f'"{text}" is a URL, but imports are local files'
            self.report.error("E0801", span, message, help="save the file next to the spec and import it by name")
            return None
        wrong = next((row for row in _WRITTEN if re.match(row[0], text)), None)
        if wrong:
            self.report.error("E0803", span, f'"{text}" {wrong[1]}', help=wrong[2])
            return None
        root = self.main.parent
        path = (folder / text).resolve()
        if not path.is_relative_to(root):
            help = "copy the file into this folder, or compile a file in a parent folder"
            self.report.error("E0803", span, f'"{text}" is outside {root.name}/, the folder of the spec', help=help)
            return None
        return str(path), path

    def _read(self, literal: s.Literal, key: str, path: Path) -> s.File | None:
        shown = key
        if self.main is not None and not key.startswith("std:"):
            relative = path.relative_to(self.main.parent)
            shown = str(Path(self.source.name).parent / relative)
        try:
            text = self.opened[path] if path in self.opened else Source.read(path).text
        except FileNotFoundError:
            help = partial(near_file, path)
            self.report.error("E0801", literal.span, f"there is no file {shown}", help=help)
            return None
        except (OSError, ValueError) as error:  # a UnicodeDecodeError is a ValueError
            reason = error.strerror if isinstance(error, OSError) else str(error)
            reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else reason
            self.report.error("E0801", literal.span, f"{shown} cannot be read: {reason}")
            return None
        source = Source(shown, text, self.next_base)
        self.next_base = source.end + 1
        self.report.imported.append(source)
        if self.main is not None and not key.startswith("std:"):
            self.files.paths[path.relative_to(self.main.parent).as_posix()] = source
        return text_to_syntax(source, self.report)


@cache
def library_names() -> list[str]:
    """The files of the standard library, as imports name them."""
    return sorted(f"std:{f.stem}" for f in _LIBRARY.glob("*.frac"))
