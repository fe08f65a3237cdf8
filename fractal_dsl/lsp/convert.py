"""Records of ``services`` as types of the protocol."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lsprotocol import types as t
from pygls import uris

from fractal_dsl.services.calls import CallSignature
from fractal_dsl.services.completion import Completion
from fractal_dsl.services.findings import Finding
from fractal_dsl.services.fixes import Fix
from fractal_dsl.services.outline import OutlineItem
from fractal_dsl.services.places import Edit, FileRange, Point, Range

_COMPLETIONS = {
    "layer": t.CompletionItemKind.Function,
    "join": t.CompletionItemKind.Operator,
    "rule": t.CompletionItemKind.Class,
    "param": t.CompletionItemKind.Constant,
    "let": t.CompletionItemKind.Constant,
    "shared": t.CompletionItemKind.Constant,
    "file": t.CompletionItemKind.Module,
    "local": t.CompletionItemKind.Variable,
    "parameter": t.CompletionItemKind.Field,
    "function": t.CompletionItemKind.Function,
    "setting": t.CompletionItemKind.Property,
    "variant": t.CompletionItemKind.EnumMember,
    "value": t.CompletionItemKind.Value,
    "keyword": t.CompletionItemKind.Keyword,
    "type": t.CompletionItemKind.TypeParameter,
    "option": t.CompletionItemKind.Property,
    "annotation": t.CompletionItemKind.Property,
}
_SYMBOLS = {
    "layer": t.SymbolKind.Function,
    "join": t.SymbolKind.Operator,
    "rule": t.SymbolKind.Class,
    "net": t.SymbolKind.Interface,
    "param": t.SymbolKind.Constant,
    "let": t.SymbolKind.Variable,
    "shared": t.SymbolKind.Variable,
    "file": t.SymbolKind.Module,
    "train": t.SymbolKind.Object,
    "setting": t.SymbolKind.Property,
    "case": t.SymbolKind.Method,
}


def position(point: Point) -> t.Position:
    return t.Position(point.line, point.character)


def point(position: t.Position) -> Point:
    return Point(position.line, position.character)


def to_range(range: Range) -> t.Range:
    return t.Range(position(range.start), position(range.end))


def from_range(range: t.Range) -> Range:
    return Range(point(range.start), point(range.end))


def uri_of(file: str) -> str:
    """The URI of a file; a text without one, such as ``untitled:1``, is its own."""
    return file if not Path(file).is_absolute() else uris.from_fs_path(file) or file


def location(place: FileRange) -> t.Location:
    return t.Location(uri_of(place.file), to_range(place.range))


def text_edits(edits: Iterable[Edit]) -> list[t.TextEdit]:
    return [t.TextEdit(to_range(edit.range), edit.text) for edit in edits]


def workspace_edit(edits: Iterable[Edit]) -> t.WorkspaceEdit:
    """Edits of several files."""
    changes: dict[str, list[t.TextEdit]] = {}
    for edit in edits:
        changes.setdefault(uri_of(edit.file), []).extend(text_edits([edit]))
    return t.WorkspaceEdit(changes=changes)


def diagnostic(finding: Finding) -> t.Diagnostic:
    severity = t.DiagnosticSeverity.Error if finding.severity == "error" else t.DiagnosticSeverity.Warning
    related = None
    if finding.origin is not None:
        related = [t.DiagnosticRelatedInformation(location(finding.origin), "the error is here")]
    return t.Diagnostic(
        to_range(finding.range),
        finding.message,
        severity,
        finding.code,
        source="fractal-dsl",
        related_information=related,
    )


def completion_item(completion: Completion) -> t.CompletionItem:
    return t.CompletionItem(
        completion.label,
        kind=_COMPLETIONS[completion.kind],
        detail=completion.detail or None,
        documentation=completion.doc or None,
        sort_text=f"{completion.rank}{completion.label}",
        filter_text=completion.label,
        text_edit=t.TextEdit(to_range(completion.range), completion.text),
    )


def signature_help(signature: CallSignature) -> t.SignatureHelp:
    params = [t.ParameterInformation(text) for text in signature.params]
    active = min(signature.active, max(0, len(params) - 1))
    return t.SignatureHelp([t.SignatureInformation(signature.text, signature.doc or None, params)], 0, active)


def document_symbol(item: OutlineItem) -> t.DocumentSymbol:
    return t.DocumentSymbol(
        item.name,
        _SYMBOLS[item.kind],
        to_range(item.range),
        to_range(item.selection),
        item.detail or None,
        children=[document_symbol(child) for child in item.children],
    )


def code_action(fix: Fix, shown: Iterable[t.Diagnostic]) -> t.CodeAction:
    """A fix as a quick fix of the diagnostics that it removes."""
    cured = [d for d in shown if d.code == fix.code and from_range(d.range) == fix.range]
    return t.CodeAction(
        fix.title, t.CodeActionKind.QuickFix, cured or None, is_preferred=True, edit=workspace_edit([fix.edit])
    )
