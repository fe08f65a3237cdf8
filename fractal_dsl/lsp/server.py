"""The server: each request of an editor is answered by a service."""

from __future__ import annotations

import asyncio
import logging
from asyncio.subprocess import Process
from typing import TYPE_CHECKING, Any

from lsprotocol import types as t
from pygls.exceptions import JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.version import __version__
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.lsp import commands
from fractal_dsl.lsp import convert as c
from fractal_dsl.lsp.texts import OpenTexts
from fractal_dsl.services import calls, completion, findings, fixes, formatting, hints, lenses, navigate, outline
from fractal_dsl.services.analysis import Analysis
from fractal_dsl.services.hover import hover

if TYPE_CHECKING:
    from fractal_dsl.play.worker import Worker

RENDER, PLAY, PICTURE = "fractal-dsl.render", "fractal-dsl.play", "fractal-dsl/picture"
DELAY = 0.03
"""Seconds without a change after which a text is checked."""


class FracServer(LanguageServer):
    """A language server with the texts of its editor."""

    def __init__(self) -> None:
        # Editors send whole texts. pygls would split a text into lines where the protocol does not, at U+2028 or a form
        # feed, and so apply a change of a line at another place.
        super().__init__("fractal-dsl", __version__, t.TextDocumentSyncKind.Full)  # pyright: ignore[reportUnknownMemberType]
        self.texts = OpenTexts()
        self.waiting: dict[str, asyncio.TimerHandle] = {}
        self.playing: list[Process] = []
        self.drawing: Worker | None = None

    def known(self, uri: str) -> Analysis:
        """The analysis of a text. Raises JsonRpcInvalidParams if there is none."""
        try:
            return self.texts.analysis(self.workspace, uri)
        except UserError as error:
            raise JsonRpcInvalidParams(str(error)) from None

    def check(self, uri: str) -> None:
        """Publish the errors and warnings of a text, and of the open texts that import it."""
        self.waiting.pop(uri, None)
        for each in [uri, *self.texts.importers(self.workspace, uri)]:
            document = self.workspace.get_text_document(each)
            try:
                shown = [
                    c.diagnostic(finding) for finding in findings.findings(self.texts.analysis(self.workspace, each))
                ]
            except UserError as error:
                shown = [t.Diagnostic(t.Range(t.Position(0, 0), t.Position(0, 0)), str(error), source="fractal-dsl")]
            self.text_document_publish_diagnostics(t.PublishDiagnosticsParams(each, shown, document.version))

    def check_soon(self, uri: str) -> None:
        """Check a text when it has not changed for a moment."""
        self.texts.changed()
        if uri in self.waiting:
            self.waiting[uri].cancel()
        self.waiting[uri] = asyncio.get_running_loop().call_later(DELAY, self.check, uri)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a record is more than a refused request, whose answer says what is wrong."""
    return not (record.exc_info and isinstance(record.exc_info[1], JsonRpcInvalidParams))


logging.getLogger("pygls.protocol.json_rpc").addFilter(_is_news)
server = FracServer()


@server.feature(t.INITIALIZE)
def _initialize(ls: FracServer, params: t.InitializeParams) -> None:
    options: Any = params.initialization_options
    ls.texts.allow_python = bool(options and options.get("allowPython"))


@server.feature(t.TEXT_DOCUMENT_DID_OPEN)
def _did_open(ls: FracServer, params: t.DidOpenTextDocumentParams) -> None:
    ls.texts.changed()
    ls.check(params.text_document.uri)


@server.feature(t.TEXT_DOCUMENT_DID_CHANGE)
def _did_change(ls: FracServer, params: t.DidChangeTextDocumentParams) -> None:
    ls.check_soon(params.text_document.uri)


@server.feature(t.TEXT_DOCUMENT_DID_CLOSE)
def _did_close(ls: FracServer, params: t.DidCloseTextDocumentParams) -> None:
    ls.texts.changed()
    if timer := ls.waiting.pop(params.text_document.uri, None):
        timer.cancel()
    ls.text_document_publish_diagnostics(t.PublishDiagnosticsParams(params.text_document.uri, []))


@server.feature(t.WORKSPACE_DID_CHANGE_WATCHED_FILES)
def _did_change_files(ls: FracServer, params: t.DidChangeWatchedFilesParams) -> None:
    ls.texts.changed()
    for uri in list(ls.workspace.text_documents):
        ls.check_soon(uri)


@server.feature(t.TEXT_DOCUMENT_HOVER)
def _hover(ls: FracServer, params: t.HoverParams) -> t.Hover | None:
    known = hover(ls.known(params.text_document.uri), c.point(params.position))
    if known is None:
        return None
    return t.Hover(t.MarkupContent(t.MarkupKind.Markdown, known.text), c.to_range(known.range))


@server.feature(t.TEXT_DOCUMENT_COMPLETION, t.CompletionOptions(trigger_characters=[".", "(", "@", '"', ":", "="]))
def _completion(ls: FracServer, params: t.CompletionParams) -> t.CompletionList:
    known = completion.completions(ls.known(params.text_document.uri), c.point(params.position))
    return t.CompletionList(False, [c.completion_item(each) for each in known])


@server.feature(t.TEXT_DOCUMENT_SIGNATURE_HELP, t.SignatureHelpOptions(trigger_characters=["(", ","]))
def _signature(ls: FracServer, params: t.SignatureHelpParams) -> t.SignatureHelp | None:
    known = calls.call_signature(ls.known(params.text_document.uri), c.point(params.position))
    return None if known is None else c.signature_help(known)


@server.feature(t.TEXT_DOCUMENT_DEFINITION)
def _definition(ls: FracServer, params: t.DefinitionParams) -> t.Location | None:
    place = navigate.definition(ls.known(params.text_document.uri), c.point(params.position))
    return None if place is None else c.location(place)


@server.feature(t.TEXT_DOCUMENT_REFERENCES)
def _references(ls: FracServer, params: t.ReferenceParams) -> list[t.Location]:
    uri, point = params.text_document.uri, c.point(params.position)
    word = navigate.word_at(ls.known(uri), point)
    others = ls.texts.others(ls.workspace, uri, word) if word else ()
    return [c.location(place) for place in navigate.references(ls.known(uri), point, others)]


@server.feature(t.TEXT_DOCUMENT_DOCUMENT_HIGHLIGHT)
def _highlight(ls: FracServer, params: t.DocumentHighlightParams) -> list[t.DocumentHighlight]:
    known = ls.known(params.text_document.uri)
    places = navigate.references(known, c.point(params.position))
    return [t.DocumentHighlight(c.to_range(p.range)) for p in places if p.file == known.source.name]


@server.feature(t.TEXT_DOCUMENT_PREPARE_RENAME)
def _prepare_rename(ls: FracServer, params: t.PrepareRenameParams) -> t.Range:
    try:
        return c.to_range(navigate.renameable(ls.known(params.text_document.uri), c.point(params.position)))
    except UserError as error:
        raise JsonRpcInvalidParams(str(error)) from None


@server.feature(t.TEXT_DOCUMENT_RENAME, t.RenameOptions(prepare_provider=True))
def _rename(ls: FracServer, params: t.RenameParams) -> t.WorkspaceEdit:
    uri, point = params.text_document.uri, c.point(params.position)
    word = navigate.word_at(ls.known(uri), point)
    others = ls.texts.others(ls.workspace, uri, word) if word else ()
    try:
        return c.workspace_edit(navigate.rename(ls.known(uri), point, params.new_name, others))
    except UserError as error:
        raise JsonRpcInvalidParams(str(error)) from None


@server.feature(t.TEXT_DOCUMENT_FORMATTING)
def _formatting(ls: FracServer, params: t.DocumentFormattingParams) -> list[t.TextEdit]:
    try:
        return c.text_edits(formatting.format_edits(ls.known(params.text_document.uri).source))
    except FracError:
        return []


@server.feature(t.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
def _symbols(ls: FracServer, params: t.DocumentSymbolParams) -> list[t.DocumentSymbol]:
    return [c.document_symbol(item) for item in outline.outline(ls.known(params.text_document.uri))]


@server.feature(t.TEXT_DOCUMENT_INLAY_HINT)
def _hints(ls: FracServer, params: t.InlayHintParams) -> list[t.InlayHint]:
    known = hints.hints(ls.known(params.text_document.uri), c.from_range(params.range))
    return [t.InlayHint(c.position(hint.point), hint.text, t.InlayHintKind.Type, padding_left=True) for hint in known]


@server.feature(t.TEXT_DOCUMENT_CODE_ACTION, t.CodeActionOptions([t.CodeActionKind.QuickFix]))
def _actions(ls: FracServer, params: t.CodeActionParams) -> list[t.CodeAction]:
    known = fixes.fixes(ls.known(params.text_document.uri), c.from_range(params.range))
    return [c.code_action(fix, params.context.diagnostics) for fix in known]


@server.feature(t.TEXT_DOCUMENT_CODE_LENS)
def _lenses(ls: FracServer, params: t.CodeLensParams) -> list[t.CodeLens]:
    uri = params.text_document.uri
    names = {"render": RENDER, "play": PLAY, "": ""}
    return [
        t.CodeLens(c.to_range(lens.range), t.Command(lens.title, names[lens.action], arguments=[uri, lens.net]))
        for lens in lenses.lenses(ls.known(uri))
    ]


@server.command(RENDER)
async def _render(ls: FracServer, uri: str, net: str) -> str | None:
    """Draw the saved file of a text, and show the picture. Returns its path."""
    try:
        picture = await commands.render(commands.file_of(uri), net)
    except UserError as error:
        return _show_error(ls, error)
    await _show(ls, c.uri_of(str(picture)), str(picture))
    return str(picture)


@server.command(PLAY)
async def _play(ls: FracServer, uri: str, net: str) -> str | None:
    """Start the playground on the saved file of a text, and show it in a browser. Returns its address."""
    try:
        process, address = await commands.play(commands.file_of(uri), net)
    except UserError as error:
        return _show_error(ls, error)
    ls.playing.append(process)
    await _show(ls, address, address)
    return address


def _show_error(ls: FracServer, error: UserError) -> None:
    ls.window_show_message(t.ShowMessageParams(t.MessageType.Error, str(error)))


async def _show(ls: FracServer, uri: str, shown: str) -> None:
    """Show a file or a page; if the editor cannot, show its name."""
    window = ls.client_capabilities.window
    if window and window.show_document and window.show_document.support:
        await ls.window_show_document_async(t.ShowDocumentParams(uri, external=True))
    else:
        ls.window_show_message(t.ShowMessageParams(t.MessageType.Info, shown))


@server.feature(PICTURE)
async def _picture(ls: FracServer, params: Any) -> dict[str, Any]:
    """The interactive picture of a net as a page: ``{"uri", "net"?, "params"?: ["columns=4"]}`` to ``{"page"}`` or
    ``{"error"}``. A process of its own draws it, so that other requests need not wait."""
    from fractal_dsl.play.asked import SpecText
    from fractal_dsl.play.worker import Worker

    if ls.drawing is None:
        ls.drawing = await asyncio.to_thread(Worker)
    given = dict(text.split("=", 1) for text in getattr(params, "params", None) or ())
    text = SpecText(ls.known(params.uri).source, given, getattr(params, "net", None))
    try:
        return await asyncio.to_thread(ls.drawing.ask, "picture", text, {"picture": {}})
    except UserError as error:
        return {"error": str(error)}


@server.feature(t.SHUTDOWN)
def _shutdown(ls: FracServer, params: None) -> None:
    for process in ls.playing:
        if process.returncode is None:
            process.terminate()
    if ls.drawing is not None:
        ls.drawing.stop()
