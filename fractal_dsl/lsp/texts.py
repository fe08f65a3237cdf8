"""The texts that an editor has open, and the analysis of each; for references, the other files of its folders, too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pygls import uris
from pygls.workspace import Workspace

from fractal_dsl.base.errors import UserError
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.language.read import read
from fractal_dsl.language.source import MAX_SOURCE_BYTES, Source
from fractal_dsl.services.analysis import Analysis, analyse

MAX_SEARCHED = 2_000
"""The largest number of files to search for references."""


class OpenTexts:
    """The analyses of open texts, kept until a text changes. ``allow_python`` lets ``extern`` load Python code."""

    def __init__(self) -> None:
        self.allow_python = False
        self._known: dict[str, Analysis] = {}

    def changed(self) -> None:
        """Forget all analyses: any text may import the one, or the file on disk, that changed."""
        self._known.clear()

    def analysis(self, workspace: Workspace, uri: str) -> Analysis:
        """The analysis of a text. Raises UserError if it is larger than a file may be, or cannot be read."""
        if uri not in self._known:
            try:
                source = _source(uri, workspace.get_text_document(uri).source)
            except (OSError, ValueError) as error:  # a text that is not open is read from its file
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                raise UserError(f"{uri} cannot be read: {reason}") from None
            opened = {
                Path(path).resolve(): workspace.get_text_document(other).source for other, path in _files(workspace)
            }
            self._known[uri] = analyse(source, opened=opened, allow_python=self.allow_python)
        return self._known[uri]

    def importers(self, workspace: Workspace, uri: str) -> list[str]:
        """The open texts that import a file."""
        path = uris.to_fs_path(uri)
        if path is None:
            return []
        wanted = str(Path(path).resolve())
        return [
            other
            for other, _ in _files(workspace)
            if other != uri and any(str(Path(s.name).resolve()) == wanted for s in self._imports(workspace, other))
        ]

    def _imports(self, workspace: Workspace, uri: str) -> list[Source]:
        return self.analysis(workspace, uri).examined.report.imported

    def others(self, workspace: Workspace, uri: str, word: str) -> Iterator[Analysis]:
        """The analyses of the other files of the editor's folders in which a word occurs."""
        open_paths = {str(Path(path).resolve()): other for other, path in _files(workspace)}
        for path in _searched(workspace):
            other = open_paths.get(str(path.resolve()))
            if other == uri:
                continue
            if other is not None:
                if word in workspace.get_text_document(other).source:
                    yield self.analysis(workspace, other)
                continue
            try:
                source = read(path)
            except FracError:
                continue
            if word in source.text:
                opened = {Path(p).resolve(): workspace.get_text_document(o).source for o, p in _files(workspace)}
                yield analyse(source, opened=opened, allow_python=self.allow_python)


def _source(uri: str, text: str) -> Source:
    size = len(text.encode("utf-8", "replace"))
    if size > MAX_SOURCE_BYTES:
        raise UserError(f"the text has {size:,} bytes; the limit is {MAX_SOURCE_BYTES:,}")
    path = uris.to_fs_path(uri) if uri.startswith("file:") else None
    return Source(path or uri, text)


def _files(workspace: Workspace) -> Iterator[tuple[str, str]]:
    """The open texts that are files: their URIs and paths."""
    for uri in list(workspace.text_documents):
        path = uris.to_fs_path(uri) if uri.startswith("file:") else None
        if path is not None:
            yield uri, path


def _searched(workspace: Workspace) -> Iterator[Path]:
    """The .frac files of the editor's folders, without hidden folders, up to a limit."""
    roots = [uris.to_fs_path(uri) for uri in workspace.folders] or [workspace.root_path]
    count = 0
    for root in roots:
        for folder, folders, names in os.walk(root) if root else ():
            folders[:] = sorted(name for name in folders if name[0] != "." and name != "node_modules")
            for name in sorted(names):
                if name.endswith(".frac"):
                    count += 1
                    if count > MAX_SEARCHED:
                        return
                    yield Path(folder, name)
