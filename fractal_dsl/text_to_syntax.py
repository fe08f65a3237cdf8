"""Text to syntax tree: Lark's LALR parser with errors in the words of people.

A file without syntax errors is parsed in one go. Otherwise it is cut at the declarations' keywords and
each piece is parsed by itself, so that every broken declaration is reported once and the rest is still
checked.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lark import Lark, Token, UnexpectedCharacters, UnexpectedToken, v_args
from lark.tree import Meta
from lark.visitors import Transformer_NonRecursive

from fractal_dsl import syntax as s
from fractal_dsl.diagnostics import Report, nearest
from fractal_dsl.grammar_file import grammar_path
from fractal_dsl.source import Source, Span
from fractal_dsl.version import __version__

EDITION = 1
MAX_NESTING = 40
MAX_RUN = 100  # tokens between separators: bounds the depth of chains such as `a + b + c …`
MAX_ERRORS = 20

KEYWORDS = tuple(
    "frac import from as param let shared layer join rule net train extern with when for in and or not true false".split()
)
DECLARATIONS = ("import", "from", "param", "let", "shared", "layer", "join", "rule", "net", "train", "extern")

TERMINALS: dict[str, str] = {
    **{word.upper(): f"`{word}`" for word in KEYWORDS},
    **{
        name: f"`{text}`"
        for name, text in (
            pair.split(" ")
            for pair in (
                "LPAR (|RPAR )|LSQB [|RSQB ]|LBRACE {|RBRACE }|COMMA ,|COLON :|EQUAL =|ARROW ->|DOTS ..|DOT .|AT @|"
                "FLOW >>|POWER **|PLUS +|MINUS -|STAR *|SLASH /|DOUBLESLASH //|PERCENT %|EQEQ ==|NOTEQ !=|LE <=|"
                "GE >=|LT <|GT >"
            ).split("|")
        )
    },
    "BAR": "`|`",
    "NAME": "a name",
    "INT": "a whole number",
    "FLOAT": "a number",
    "PROB": "a percentage",
    "STRING": 'a text in "quotes"',
    "COMMENT": "a comment",
    "SPACE": "white space",
    "$END": "the end of the file",
}
"""What people call the grammar's terminals."""

_EXPRESSION = {"NAME", "INT", "FLOAT", "PROB", "STRING", "LPAR", "LSQB", "MINUS", "NOT", "TRUE", "FALSE"}
_OPERATORS = {
    *("BAR", "FLOW", "POWER", "PLUS", "MINUS", "STAR", "SLASH", "DOUBLESLASH", "PERCENT", "EQEQ", "NOTEQ"),
    *("LE", "GE", "LT", "GT", "AND", "OR", "AT", "DOT", "LPAR", "LSQB"),
}
_OPEN = {"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE"}


def text_to_syntax(source: Source, report: Report) -> s.File:
    """Parse a file. Errors go to ``report``; what is broken stands in the tree as ``BrokenDecl``."""
    tokens, comments = _lex(source, report)
    sound = not report.found
    shallow = _check_nesting(tokens, report)
    if not shallow:
        return s.File(source, EDITION, (), comments)
    edition, decls = _parse_all(source, tokens, report) if sound else _parse_pieces(source, tokens, report)
    return s.File(source, edition, _with_docs(source, decls, comments), comments)


def parse_expression(source: Source, report: Report) -> s.Expr:
    """Parse one expression, such as the value of ``-p name=value``."""
    text = source.text
    tokens, _ = _lex(source, report)
    if report.found or not _check_nesting(tokens, report):
        return s.Broken(Span(0, len(text)))
    try:
        return _feed("expr", tokens, len(text))
    except _Unexpected as error:
        _report_token(source, error, tokens, report)
        return s.Broken(Span(0, len(text)))


@cache
def _lark() -> Lark:
    return Lark(
        grammar_path().read_text(encoding="utf-8"),
        parser="lalr",
        lexer="basic",
        start=["start", "decl", "expr"],
        propagate_positions=True,
        maybe_placeholders=False,
        cache=_cache_file() or False,
    )


def _cache_file() -> str | None:
    """Where Lark keeps its parse tables: a folder that nobody else can write to, for it holds pickles."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "fractal_dsl"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except (OSError, RuntimeError):
        return None
    mine = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    private = mine and not status.st_mode & 0o022 and os.access(folder, os.W_OK)
    return str(folder / f"frac-{__version__}-{sys.version_info[0]}.{sys.version_info[1]}.lark") if private else None


class _Unexpected(Exception):
    """The parser cannot take ``token``; it would have taken one of ``accepted``."""

    def __init__(self, token: Token, accepted: set[str]) -> None:
        super().__init__(str(token))
        self.token, self.accepted = token, accepted


def _feed(start: str, tokens: Sequence[Token], end: int) -> Any:
    parser: Any = _lark().parse_interactive(start=start)
    last = Token("$END", "", start_pos=end, end_pos=end)
    tree: Any = None
    for i, token in enumerate((*tokens, last)):
        try:
            tree = parser.feed_token(token)
        except UnexpectedToken:  # the failed token has reduced the stack: ask a parser that has not seen it
            fresh: Any = _lark().parse_interactive(start=start)
            for earlier in tokens[:i]:
                fresh.feed_token(earlier)
            raise _Unexpected(token, set(fresh.accepts())) from None
    return _Builder().transform(tree)


# --- lexing


def _span(token: Token) -> Span:
    assert token.start_pos is not None and token.end_pos is not None
    return Span(token.start_pos, token.end_pos)


def _lex(source: Source, report: Report) -> tuple[list[Token], tuple[s.Comment, ...]]:
    """All tokens; characters that are none are reported and passed over."""
    text = source.text
    for _ in range(MAX_ERRORS):
        try:
            tokens = list(_lark().lex(text, dont_ignore=True))
            break
        except UnexpectedCharacters as error:
            at = error.pos_in_stream
            text = text[:at] + " " + text[at + 1 :]
            _report_character(source, at, report)
            if text[at] == '"':
                text = text[:at] + " " * (len(text) - at)
    else:
        return [], ()
    comments = tuple(s.Comment(str(t), _span(t)) for t in tokens if t.type == "COMMENT")
    return [t for t in tokens if t.type not in ("COMMENT", "SPACE")], comments


def _report_character(source: Source, at: int, report: Report) -> None:
    char = source.text[at]
    if char == '"':
        report.error(
            "E0101", Span(at, at + 1), "this text is not closed", help='close it with `"` on the same line'
        )
        return
    known = {"'": 'texts stand in double quotes: "…"', ";": "declarations need no semicolon", "&": "write `and`"}
    known |= {"!": "write `not`", "^": "write `**` for a power", "“": 'texts stand in straight quotes: "…"'}
    shown = f"`{char}`" if char.isprintable() else f"the character U+{ord(char):04X}"
    report.error("E0101", Span(at, at + 1), f"{shown} does not belong to the language", help=known.get(char))


def _check_nesting(tokens: Sequence[Token], report: Report) -> bool:
    """Refuse what would nest too deeply; True if all is well."""
    runs = [0]
    for token in tokens:
        runs[-1] += 1
        if token.type in _OPEN:
            runs.append(0)
            if len(runs) > MAX_NESTING + 1:
                report.error("E0105", _span(token), f"brackets are nested deeper than {MAX_NESTING}")
                return False
        elif token.type in _OPEN.values():
            if len(runs) > 1:
                runs.pop()
        elif token.type in ("COMMA", "FLOW", "BAR", "EQUAL") or token.value in DECLARATIONS:
            runs[-1] = 0
        elif runs[-1] > MAX_RUN:
            help = "name a part of it with `let`"
            report.error("E0105", _span(token), f"an expression of more than {MAX_RUN} words and signs", help=help)
            return False
    return True


# --- parsing with recovery


def _parse_all(source: Source, tokens: Sequence[Token], report: Report) -> tuple[int, Sequence[s.Decl]]:
    try:
        edition, decls = _feed("start", tokens, len(source.text))
    except _Unexpected:
        return _parse_pieces(source, tokens, report)
    if edition is not None and edition.value != EDITION:
        help = f"this version reads edition {EDITION}: write `frac {EDITION}`, or update fractal_dsl"
        report.error("E0104", edition.span, f"there is no edition {edition.value} of the language", help=help)
    return EDITION, decls


def _parse_pieces(source: Source, tokens: Sequence[Token], report: Report) -> tuple[int, Sequence[s.Decl]]:
    decls: list[s.Decl] = []
    for piece, end in _pieces(source, tokens):
        if piece[0].type == "FRAC":
            if len(piece) != 2 or piece[1].type != "INT":
                message = f"expected the edition, such as `frac {EDITION}`, and then a declaration"
                report.error("E0102", _span(piece[min(1, len(piece) - 1)]), message)
            continue
        try:
            decls.append(_feed("decl", piece, end))
        except _Unexpected as error:
            _report_token(source, error, piece, report)
            name = piece[1].value if len(piece) > 1 and piece[1].type == "NAME" else None
            decls.append(s.BrokenDecl(name, _span(piece[0]).to(_span(piece[-1]))))
        if len(report.found) >= MAX_ERRORS:
            break
    return EDITION, decls


def _pieces(source: Source, tokens: Sequence[Token]) -> Iterator[tuple[list[Token], int]]:
    """Cut before each declaration's keyword that begins a line; each piece with the offset of its end."""
    piece: list[Token] = []
    for token in tokens:
        assert token.start_pos is not None
        line_start = source.text.rfind("\n", 0, token.start_pos) + 1
        first = not source.text[line_start : token.start_pos].strip()
        if piece and first and (token.value in DECLARATIONS or piece[0].type == "FRAC" and len(piece) >= 2):
            yield piece, piece[-1].end_pos or 0
            piece = []
        piece.append(token)
    if piece:
        yield piece, piece[-1].end_pos or 0


def _report_token(source: Source, error: _Unexpected, piece: Sequence[Token], report: Report) -> None:
    token = error.token
    at_end = token.type == "$END"
    open_bracket = _unclosed(piece if at_end else piece[: _place(token, piece)])
    accepted = error.accepted - {"$END"}
    found = "the declaration ends here" if at_end else f"found `{token}`"
    span = Span(max(0, (piece[-1].end_pos or 0) - 1), piece[-1].end_pos or 0) if at_end else _span(token)
    if not at_end and token.type in _OPEN.values() and open_bracket is None:
        report.error("E0103", span, f"`{token}` closes nothing", help="take it away, or open the bracket before")
        return
    closing = _OPEN[open_bracket.type] if open_bracket else None
    if open_bracket and (at_end or token.type in _OPEN.values()):
        line, column = source.position(open_bracket.start_pos or 0)
        shown = TERMINALS[closing or ""]
        message = f"`{open_bracket}` is not closed: expected {shown}, but {found}"
        if not at_end and token.type == closing:
            message = f"something is missing before `{token}`: expected {_phrase(accepted)}"
            report.error("E0102", span, message)
            return
        report.error("E0103", span, message, help=f"the bracket opens at line {line}, column {column}")
        return
    message, help = f"expected {_phrase(accepted)}, but {found}", _hint(token, piece, accepted)
    report.error("E0102", span, message, label="" if at_end else "not expected here", help=help)


def _place(token: Token, piece: Sequence[Token]) -> int:
    """Where the token stands; tokens compare as texts, so this goes by identity. -1: it is the end."""
    return next((i for i, t in enumerate(piece) if t is token), -1)


def _unclosed(tokens: Sequence[Token]) -> Token | None:
    stack: list[Token] = []
    for token in tokens:
        if token.type in _OPEN:
            stack.append(token)
        elif stack and token.type == _OPEN[stack[-1].type]:
            stack.pop()
    return stack[-1] if stack else None


def _phrase(accepted: set[str]) -> str:
    words: list[str] = []
    if {"NAME", "INT", "LPAR"} <= accepted:
        words.append("an expression")
        accepted = accepted - _EXPRESSION
    if "FLOW" in accepted:
        accepted = accepted - _OPERATORS
        words.append("an operator such as `>>`")
    if {word.upper() for word in DECLARATIONS} <= accepted:
        accepted = accepted - {word.upper() for word in DECLARATIONS}
        words.append("a declaration")
    words += sorted(TERMINALS[t] for t in accepted)
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words) or "nothing more"


def _hint(token: Token, piece: Sequence[Token], accepted: set[str]) -> str | None:
    index = _place(token, piece)
    before = piece[index - 1] if index > 0 else None
    if index == 0:
        near = nearest(str(token), DECLARATIONS)
        return f"did you mean `{near}`?" if near else f"a declaration begins with {', '.join(DECLARATIONS)}"
    if token.value in KEYWORDS and "NAME" in accepted:
        return f"`{token}` is a keyword; choose another name, such as `{token}_`"
    if token.type == "EQUAL" and "EQEQ" in accepted:
        return "`==` compares, `=` names an argument or begins a definition"
    if before is not None and before.type == "PROB":
        return "`15%` is a probability; leave a space for the remainder: `15 % 4`"
    if token.type == "NAME" and before is not None and before.type in ("NAME", "RPAR", "INT", "PROB"):
        near = nearest(str(before), KEYWORDS)
        if index == 1 and near and before.type == "NAME":
            return f"did you mean `{near}`?"
        return "blocks are composed with `>>`, arguments separated by `,`" if "FLOW" in accepted else None
    return None


# --- docs


def _with_docs(source: Source, decls: Sequence[s.Decl], comments: Sequence[s.Comment]) -> tuple[s.Decl, ...]:
    """Attach ``##`` comments to the declaration that follows them."""
    docs = [c for c in comments if c.text.startswith("##")]
    if not docs:
        return tuple(decls)
    from dataclasses import replace

    result: list[s.Decl] = []
    last = 0
    for decl in decls:
        lines = [c.text[2:].strip() for c in docs if last <= c.span.start < decl.span.start]
        last = decl.span.end
        doc = " ".join(lines)
        result.append(replace(decl, doc=doc) if doc and not isinstance(decl, s.BrokenDecl) else decl)
    return tuple(result)


# --- the tree


def _where(meta: Meta) -> Span:
    return Span(meta.start_pos, meta.end_pos) if not meta.empty else Span(0, 0)


def _name(token: Token) -> s.Name:
    return s.Name(str(token), _span(token))


def _text(token: Token) -> s.Literal:
    return s.Literal(str(token)[1:-1], _span(token))


def _number(token: Token) -> s.Literal:
    digits = str(token).replace("_", "")
    # CPython refuses to convert very long digit strings; the size limit is reported by the checker
    return s.Literal(int(digits) if len(digits) < 4000 else 10**4000, _span(token))


@v_args(meta=True)
class _Builder(Transformer_NonRecursive[Token, Any]):
    """Builds the tree out of Lark's. Methods bear the names of the grammar's rules."""

    def start(self, meta: Meta, c: list[Any]) -> tuple[s.Literal | None, list[s.Decl]]:
        edition = c[0] if c and isinstance(c[0], s.Literal) else None
        return edition, [d for d in c if not isinstance(d, s.Literal)]

    def edition(self, meta: Meta, c: list[Token]) -> s.Literal:
        return _number(c[1])

    # declarations

    def import_(self, meta: Meta, c: list[Token]) -> s.Import:
        return s.Import(_text(c[1]), _name(c[3]), _where(meta))

    def imported(self, meta: Meta, c: list[Token]) -> tuple[s.Name, s.Name]:
        return _name(c[0]), _name(c[-1])

    def from_import(self, meta: Meta, c: list[Any]) -> s.FromImport:
        return s.FromImport(_text(c[1]), tuple(x for x in c if isinstance(x, tuple)), _where(meta))

    def param(self, meta: Meta, c: list[Any]) -> s.Param:
        default = c[c.index("=") + 1] if "=" in c else None
        domain = c[-1] if isinstance(c[-1], s.RangeDomain | s.SetDomain) else None
        return s.Param(_name(c[1]), c[3], default, domain, _where(meta))

    def let(self, meta: Meta, c: list[Any]) -> s.Let:
        return s.Let(_name(c[1]), c[-1], c[0].type == "SHARED", _where(meta))

    shared = let

    def layer(self, meta: Meta, c: list[Any]) -> s.LayerDecl:
        params = c[2] if isinstance(c[2], tuple) else ()
        return s.LayerDecl(_name(c[1]), params, c[-1], c[0].type == "JOIN", _where(meta))

    join = layer

    def rule(self, meta: Meta, c: list[Any]) -> s.RuleDecl:
        params = c[2] if isinstance(c[2], tuple) else ()
        joins = [i for i, x in enumerate(c) if isinstance(x, Token) and x.type == "JOIN"]
        cases = tuple(x for x in c if isinstance(x, s.Case))
        return s.RuleDecl(_name(c[1]), params, c[joins[0] + 1] if joins else None, cases, _where(meta))

    def net(self, meta: Meta, c: list[Any]) -> s.NetDecl:
        options = next((x for x in c if isinstance(x, tuple)), ())
        return s.NetDecl(_name(c[1]), _name(c[3]), c[5], c[8], options, c[-1], _where(meta))

    def train(self, meta: Meta, c: list[Any]) -> s.TrainDecl:
        return s.TrainDecl(tuple(x for x in c if isinstance(x, s.Setting)), _where(meta))

    def extern(self, meta: Meta, c: list[Any]) -> s.Extern:
        params = c[3] if isinstance(c[3], tuple) else ()
        return s.Extern(_name(c[2]), params, _text(c[-1]), c[1].type == "JOIN", _where(meta))

    def signature(self, meta: Meta, c: list[Any]) -> tuple[s.Parameter, ...]:
        return tuple(x for x in c if isinstance(x, s.Parameter))

    def parameter(self, meta: Meta, c: list[Any]) -> s.Parameter:
        return s.Parameter(_name(c[0]), c[2], c[4] if len(c) > 4 else None, _where(meta))

    def options(self, meta: Meta, c: list[Any]) -> tuple[s.Call, ...]:
        return tuple(x for x in c if isinstance(x, s.Call))

    def option(self, meta: Meta, c: list[Any]) -> s.Call:
        args = c[2] if isinstance(c[2], tuple) else ()
        return s.Call(_name(c[0]), args, _where(meta))

    def setting(self, meta: Meta, c: list[Any]) -> s.Setting:
        return s.Setting(_name(c[0]), c[2], _where(meta))

    def case(self, meta: Meta, c: list[Any]) -> s.Case:
        rule, (var, offset), head = c[0]
        guard = c[2] if isinstance(c[1], Token) and c[1].type == "WHEN" else None
        return s.Case(rule, var, offset, guard, c[-1], _where(meta), head)

    def case_head(self, meta: Meta, c: list[Any]) -> tuple[s.Name, tuple[s.Name | None, int], Span]:
        return _name(c[0]), c[2], _where(meta)

    def fixed_level(self, meta: Meta, c: list[Token]) -> tuple[None, int]:
        value = _number(c[0]).value
        assert isinstance(value, int)
        return None, value

    def free_level(self, meta: Meta, c: list[Token]) -> tuple[s.Name, int]:
        value = _number(c[2]).value if len(c) > 1 else 0
        assert isinstance(value, int)
        return _name(c[0]), value

    # types and domains

    def named_type(self, meta: Meta, c: list[Token]) -> s.TypeExpr:
        return s.TypeExpr(str(c[0]), _where(meta))

    def list_type(self, meta: Meta, c: list[Any]) -> s.TypeExpr:
        return s.TypeExpr("list", _where(meta), item=c[1])

    def tensor_type(self, meta: Meta, c: list[Any]) -> s.TypeExpr:
        return s.TypeExpr(str(c[0]), _where(meta), dims=tuple(x for x in c[1:] if not isinstance(x, Token)))

    def range_domain(self, meta: Meta, c: list[Any]) -> s.RangeDomain:
        return s.RangeDomain(c[0], c[2], _where(meta))

    def set_domain(self, meta: Meta, c: list[Any]) -> s.SetDomain:
        return s.SetDomain(tuple(x for x in c if not isinstance(x, Token)), _where(meta))

    # expressions

    def comparator(self, meta: Meta, c: list[Token]) -> Token:
        return c[0]

    def binary(self, meta: Meta, c: list[Any]) -> s.Binary:
        return s.Binary(str(c[1]), c[0], c[2], _where(meta))

    def unary(self, meta: Meta, c: list[Any]) -> s.Unary:
        return s.Unary(str(c[0]), c[1], _where(meta))

    def columns(self, meta: Meta, c: list[Any]) -> s.Columns:
        return s.Columns(tuple(c[::2]), _where(meta))

    def flow(self, meta: Meta, c: list[Any]) -> s.Flow:
        return s.Flow(tuple(c[::2]), _where(meta))

    def annotation(self, meta: Meta, c: list[Any]) -> s.Annotated:
        args = next((x for x in c[3:] if isinstance(x, tuple)), ())
        return s.Annotated(c[0], str(c[2]), args, _where(meta))

    def call(self, meta: Meta, c: list[Any]) -> s.Call:
        return s.Call(c[0], c[2] if isinstance(c[2], tuple) else (), _where(meta))

    def index(self, meta: Meta, c: list[Any]) -> s.Index:
        return s.Index(c[0], c[2], _where(meta))

    def attribute(self, meta: Meta, c: list[Any]) -> s.Attribute:
        return s.Attribute(c[0], str(c[2]), _where(meta))

    def name(self, meta: Meta, c: list[Token]) -> s.Name:
        return _name(c[0])

    def integer(self, meta: Meta, c: list[Token]) -> s.Literal:
        return _number(c[0])

    def decimal(self, meta: Meta, c: list[Token]) -> s.Literal:
        return s.Literal(float(c[0].replace("_", "")), _where(meta))

    def prob(self, meta: Meta, c: list[Token]) -> s.Literal:
        # through Decimal's text: 15% is the float nearest to 0.15, which 15 / 100 is as well
        return s.Literal(float(c[0][:-1].replace("_", "")) / 100, _where(meta), prob=True)

    def string(self, meta: Meta, c: list[Token]) -> s.Literal:
        return _text(c[0])

    def true(self, meta: Meta, c: list[Token]) -> s.Literal:
        return s.Literal(True, _where(meta))

    def false(self, meta: Meta, c: list[Token]) -> s.Literal:
        return s.Literal(False, _where(meta))

    def parens(self, meta: Meta, c: list[Any]) -> s.Expr:
        return c[1]

    def items(self, meta: Meta, c: list[Any]) -> s.Items:
        return s.Items(tuple(x for x in c if not isinstance(x, Token)), _where(meta))

    def bracketed(self, meta: Meta, c: list[Any]) -> s.Comprehension:
        return c[1].value

    def args(self, meta: Meta, c: list[Any]) -> tuple[s.Arg, ...]:
        return tuple(x for x in c if isinstance(x, s.Arg))

    def arg(self, meta: Meta, c: list[Any]) -> s.Arg:
        if isinstance(c[0], s.Arg):
            return c[0]
        if isinstance(c[0], Token):
            return s.Arg(str(c[0]), c[2], _where(meta))
        return s.Arg(None, c[0], _where(meta))

    def comprehension(self, meta: Meta, c: list[Any]) -> s.Arg:
        targets = tuple(_name(t) for t in c[1:-1] if isinstance(t, Token) and t.type == "NAME")
        return s.Arg(None, s.Comprehension(c[0], targets, c[-1], _where(meta)), _where(meta))


setattr(_Builder, "import", _Builder.import_)
