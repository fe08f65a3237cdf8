"""Text to syntax tree: Lark's LALR parser, with errors in plain English.

In: a source text. Out: a ``File``, the tree of its declarations; errors go to a ``Report``.
Not imported here: torch, ``ops`` and above.

A file without syntax errors is parsed in one pass. Otherwise it is cut at the keywords of declarations and each piece
is parsed separately, so that every broken declaration is reported once and the rest is still checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lark import Token
from msgspec.structs import replace

from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.source import Source, Span
from fractal_dsl.language.text_to_syntax.lexer import MAX_ERRORS, MAX_NESTING, MAX_RUN, MAX_TOKENS, check_nesting, lex
from fractal_dsl.language.text_to_syntax.messages import begins_line, report_token
from fractal_dsl.language.text_to_syntax.parser import Unexpected, feed
from fractal_dsl.language.text_to_syntax.tree import span_of
from fractal_dsl.language.text_to_syntax.words import DECLARATIONS, KEYWORDS, TERMINALS

__all__ = [
    "DECLARATIONS",
    "EDITION",
    "KEYWORDS",
    "MAX_ERRORS",
    "MAX_NESTING",
    "MAX_RUN",
    "MAX_TOKENS",
    "TERMINALS",
    "parse_expression",
    "text_to_syntax",
]

EDITION = 1


def text_to_syntax(source: Source, report: Report) -> s.File:
    """Parse a file. Errors go to ``report``; a broken declaration becomes a ``BrokenDecl``."""
    tokens, comments = lex(source, report)
    sound = not report.errors
    shallow = check_nesting(tokens, report)
    if not shallow:
        return s.File(source, None, (), comments)
    edition, decls = _parse_all(source, tokens, report) if sound else _parse_pieces(source, tokens, report)
    return s.File(source, edition, _with_docs(source, decls, comments), comments)


def parse_expression(source: Source, report: Report) -> s.Expr:
    """Parse one expression, such as the value of ``-p name=value``."""
    tokens, _ = lex(source, report)
    if not report.errors and not tokens:
        report.error("E0102", Span(source.base, source.end), "expected a value, but the text is empty")
    if report.errors or not check_nesting(tokens, report):
        return s.Broken(Span(source.base, source.end))
    try:
        return feed("expr", tokens, source.end)
    except Unexpected as error:
        report_token(source, error, tokens, report)
        return s.Broken(Span(source.base, source.end))


def _parse_all(source: Source, tokens: Sequence[Token], report: Report) -> tuple[s.Literal | None, Sequence[s.Decl]]:
    try:
        edition, decls = feed("start", tokens, source.end)
    except Unexpected:
        return _parse_pieces(source, tokens, report)
    if edition is not None and edition.value != EDITION:
        help = f"this version supports edition {EDITION}: write `frac {EDITION}`, or update fractal_dsl"
        report.error("E0104", edition.span, f"there is no edition {edition.value} of the language", help=help)
    return edition, decls


def _parse_pieces(source: Source, tokens: Sequence[Token], report: Report) -> tuple[s.Literal | None, Sequence[s.Decl]]:
    decls: list[s.Decl] = []
    for piece, end in _pieces(source, tokens):
        if piece[0].type == "FRAC":
            if len(piece) != 2 or piece[1].type != "INT":
                message = f"expected the edition, such as `frac {EDITION}`, followed by a declaration"
                report.error("E0102", span_of(piece[min(1, len(piece) - 1)]), message)
            continue
        try:
            decls.append(feed("decl", piece, end))
        except Unexpected as error:
            report_token(source, error, piece, report)
            name = next((t.value for t in piece[1::-1] if t.type == "NAME"), None)  # the first word in `width = 64`
            decls.append(s.BrokenDecl(name, span_of(piece[0]).to(span_of(piece[-1]))))
        if len(report.errors) >= MAX_ERRORS:
            break
    return None, decls


def _pieces(source: Source, tokens: Sequence[Token]) -> Iterator[tuple[list[Token], int]]:
    """Cut before each declaration keyword that begins a line. Yields each piece with the offset of its end."""
    piece: list[Token] = []
    for token in tokens:
        assert token.start_pos is not None
        first = begins_line(source, token.start_pos)
        if piece and first and (token.value in DECLARATIONS or (piece[0].type == "FRAC" and len(piece) >= 2)):
            yield piece, piece[-1].end_pos or 0
            piece = []
        piece.append(token)
    if piece:
        yield piece, piece[-1].end_pos or 0


def _with_docs(source: Source, decls: Sequence[s.Decl], comments: Sequence[s.Comment]) -> tuple[s.Decl, ...]:
    """Attach ``##`` comments on lines of their own to the next declaration."""
    docs = [c for c in comments if c.text.startswith("##") and begins_line(source, c.span.start)]
    if not docs:
        return tuple(decls)
    result: list[s.Decl] = []
    last = source.base
    for decl in decls:
        lines = [c.text[2:].strip() for c in docs if last <= c.span.start < decl.span.start]
        last = decl.span.end
        doc = " ".join(lines)
        result.append(replace(decl, doc=doc) if doc and not isinstance(decl, s.BrokenDecl) else decl)
    return tuple(result)
