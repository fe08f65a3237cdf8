"""The declarations of a text as an outline."""

from __future__ import annotations

from msgspec import Struct

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Source
from fractal_dsl.services.analysis import Analysis
from fractal_dsl.services.places import Range, range_of
from fractal_dsl.services.signatures import declaration_head
from fractal_dsl.services.symbols import Symbol


class OutlineItem(Struct, frozen=True):
    """A declaration: its kind, name, head, range, the range of its name, and the declarations inside it."""

    kind: str
    name: str
    detail: str
    range: Range
    selection: Range
    children: tuple[OutlineItem, ...] = ()


def outline(analysis: Analysis) -> list[OutlineItem]:
    """The declarations of a text in order. Imports by name are left out, since they declare nothing."""
    source = analysis.source
    tops = {symbol.span.start: symbol for symbol in analysis.names.top(analysis.file).values()}
    items: list[OutlineItem] = []
    for decl in analysis.file.decls:
        match decl:
            case s.TrainDecl():
                inside = tuple([_child(source, "setting", x.key, x) for x in decl.settings])
                range = range_of(source, decl.span)
                items.append(OutlineItem("train", "train", "", range, range, inside))
            case s.FromImport() | s.BrokenDecl():
                pass
            case _ if decl.name.span.start in tops:
                items.append(_declared(source, decl, tops[decl.name.span.start]))
            case _:  # declared twice
                pass
    return items


def _declared(
    source: Source, decl: s.Import | s.Param | s.Let | s.LayerDecl | s.RuleDecl | s.NetDecl | s.Extern, symbol: Symbol
) -> OutlineItem:
    inside: tuple[OutlineItem, ...] = ()
    if isinstance(decl, s.RuleDecl):
        inside = tuple(
            [
                OutlineItem("case", source.slice(c.head), "", range_of(source, c.span), range_of(source, c.head))
                for c in decl.cases
            ]
        )
    detail = declaration_head(symbol).partition(symbol.name)[2].lstrip(": =")
    whole, name = range_of(source, decl.span), range_of(source, decl.name.span)
    return OutlineItem(symbol.kind, symbol.name, detail, whole, name, inside)


def _child(source: Source, kind: str, key: s.Name, whole: s.Setting) -> OutlineItem:
    return OutlineItem(
        kind, key.id, source.slice(whole.value.span), range_of(source, whole.span), range_of(source, key.span)
    )
