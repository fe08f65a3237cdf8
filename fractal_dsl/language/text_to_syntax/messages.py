"""What was expected, what was found, and what may have been meant, in the words of people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from lark import Token

from fractal_dsl.base.errors import nearest
from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.source import Source, Span
from fractal_dsl.language.text_to_syntax.parser import Unexpected
from fractal_dsl.language.text_to_syntax.tree import span_of
from fractal_dsl.language.text_to_syntax.words import DECLARATIONS, KEYWORDS, OPEN, TERMINALS

_EXPRESSION = {"NAME", "INT", "FLOAT", "PROB", "STRING", "LPAR", "LSQB", "MINUS", "NOT", "TRUE", "FALSE"}
_OPERATORS = {
    *("BAR", "FLOW", "POWER", "PLUS", "MINUS", "STAR", "SLASH", "DOUBLESLASH", "PERCENT", "EQEQ", "NOTEQ"),
    *("LE", "GE", "LT", "GT", "AND", "OR", "AT", "DOT", "LPAR", "LSQB"),
}

_VALUES = {"INT", "FLOAT", "PROB", "STRING", "TRUE", "FALSE"}
STARTS = {
    **dict.fromkeys(("def", "class", "fn", "function"), "blocks of one's own are declared with `layer`: `layer … = …`"),
    **dict.fromkeys(("const", "var"), "values are named with `let`: `let … = …`"),
    **dict.fromkeys(("for", "while"), "loops stand inside `seq` or a list: `seq(conv2d(w, 3) for w in [8, 16])`"),
    **dict.fromkeys(
        ("model", "network"), "networks are declared with `net`: `net N(x: f32[3, 32, 32]) -> f32[10] = …`"
    ),
}
"""Words that begin a declaration elsewhere."""

_LIBRARY = 'the standard library stands in quotes, too: `import "std:cnn" as cnn`'
_PATHS = 'layers are built in; a file is imported by its path: `import "blocks.frac" as blocks`'
_STRUCTURE = (
    ("NET", "WITH", "FLOW", "options stand before `=`: `net N(…) -> f32[10] with … = …`"),
    ("NET", "EQUAL", "=ARROW", "declare the output before `=`, such as `-> f32[10]`"),
    ("NET", "COMMA", "=RPAR", "a net has one input"),
    ("NET", "LSQB", "=COLON", "the input needs a name: `x: {before}[…]`"),
    ("NET LAYER SHARED", "GT", "AND", "blocks are composed with `>>`"),
    ("RULE", "LPAR", "=LSQB", "levels stand in brackets: `{before}[1]`, `{before}[n+1]`"),
    ("RULE", "LPAR", "WHEN", "arguments are declared once, behind the rule's name: `rule {name}(…)`"),
    ("RULE TRAIN", "COLON EQUAL", "LBRACE", "the body stands in braces: `{{ … }}`"),
    ("RULE TRAIN", "COMMA", "RBRACE", "settings and cases have no comma between them"),
    ("LET SHARED", "COLON", "=EQUAL", "types are inferred here: `{first} {before} = …`"),
    ("LAYER", "ARROW", "EQUAL", "the output of a layer is inferred: leave it out"),
    ("LAYER NET JOIN", "LBRACE", "EQUAL", "write `=`, without braces around the body"),
    ("", "FOR", "LPAR", "loops stand inside `seq` or a list: `seq(conv2d(w, 3) for w in [8, 16])`"),
    ("", "COLON", "EQUAL", "write `=`"),
    ("", "LT LE GT GE EQEQ NOTEQ", "AND", "comparisons do not chain: `0 < n and n < 3`"),
)
"""Declarations (none: any), tokens that stop the parser in them, what it would take there (``=``: only that), and
the help. The first row that fits goes."""

NO_IF = "there is no `if`: a rule's cases have guards (`when`), and `block ** n` leaves a block out where n is 0"
IN_EXPRESSIONS = {"->": "did you mean `>>`?", "if": NO_IF, "else": NO_IF}
"""Words and signs between expressions elsewhere."""


def report_token(source: Source, error: Unexpected, piece: Sequence[Token], report: Report) -> None:
    """Report the token that stopped the parser in a piece of a file."""
    token = error.token
    at_end = token.type == "$END"
    open_bracket = _unclosed(piece[: _place(token, piece)])
    accepted = error.accepted - {"$END"}
    found = "the declaration ends here" if at_end else f"found `{token}`"
    span = Span(max(0, (piece[-1].end_pos or 0) - 1), piece[-1].end_pos or 0) if at_end else span_of(token)
    if not at_end and token.type in OPEN.values() and open_bracket is None:
        report.error("E0103", span, f"`{token}` closes nothing", help="take it away, or open the bracket before")
        return
    closing = OPEN[open_bracket.type] if open_bracket else None
    if open_bracket and (at_end or token.type in OPEN.values()):
        line, column = source.position(open_bracket.start_pos or 0)
        shown = TERMINALS[closing or ""]
        message = f"`{open_bracket}` is not closed: expected {shown}, but {found}"
        if not at_end and token.type == closing:
            message = f"something is missing before `{token}`: expected {_phrase(accepted)}"
            report.error("E0102", span, message, help=_hint(source, token, piece, accepted))
            return
        report.error("E0103", span, message, help=f"the bracket opens at line {line}, column {column}")
        return
    message, help = f"expected {_phrase(accepted)}, but {found}", _hint(source, token, piece, accepted)
    report.error("E0102", span, message, label="" if at_end else "not expected here", help=help)


def _place(token: Token, piece: Sequence[Token]) -> int:
    """Where the token stands; tokens compare as texts, so this goes by identity. The end stands behind all."""
    return next((i for i, t in enumerate(piece) if t is token), len(piece))


def _unclosed(tokens: Sequence[Token]) -> Token | None:
    stack: list[Token] = []
    for token in tokens:
        if token.type in OPEN:
            stack.append(token)
        elif stack and token.type == OPEN[stack[-1].type]:
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


def _hint(source: Source, token: Token, piece: Sequence[Token], accepted: set[str]) -> str | None:
    index = _place(token, piece)
    if _in_foreign_comment(source, token, piece):
        return "comments begin with `#`"
    if index == 0:
        return _start_hint(piece) if piece and "NET" in accepted else None
    before = piece[index - 1]
    known = _structure_hint(source, token, piece, accepted)
    if known is not None or index == len(piece):
        return known
    assigned = index + 1 < len(piece) and piece[index + 1].type == "EQUAL"
    new = token.type == "NAME" and begins_line(source, token.start_pos or 0) and not _unclosed(piece[:index])
    if new and (token in STARTS or assigned):
        return _start_hint(piece[index:])
    if token.value in KEYWORDS and "NAME" in accepted:
        return f"`{token}` is a keyword; choose another name, such as `{token}_`"
    if token.type == "EQUAL" and "EQEQ" in accepted:
        return "`==` compares, `=` names an argument or begins a definition"
    if before.type == "PROB":
        return "`15%` is a probability; leave a space for the remainder: `15 % 4`"
    if "FLOW" in accepted and str(token) in IN_EXPRESSIONS:
        return IN_EXPRESSIONS[str(token)]
    if "COMMA" in accepted and token.type in _VALUES and _unclosed(piece[:index]):
        return f"a comma is missing before `{token}`"
    if token.type == "NAME" and before.type in ("NAME", "RPAR", "INT", "PROB"):
        near = nearest(str(before), KEYWORDS)
        if index == 1 and near and before.type == "NAME":
            return f"did you mean `{near}`?"
        return "blocks are composed with `>>`, arguments separated by `,`" if "FLOW" in accepted else None
    return None


def _in_foreign_comment(source: Source, token: Token, piece: Sequence[Token]) -> bool:
    """Whether the token stands in a comment of C: behind ``//`` that begins its line, or in ``/*``."""
    start, end = token.start_pos or 0, token.end_pos or 0
    begin = source.text.rfind("\n", 0, max(0, start - source.base)) + 1
    line = source.text[begin : end - source.base].lstrip()
    slash = any(t.type == "SLASH" and t.end_pos == start for t in piece)
    return line.startswith(("//", "/*")) or (token.type == "STAR" and slash)


def begins_line(source: Source, offset: int) -> bool:
    """Whether nothing but white space stands before it on its line."""
    offset -= source.base
    return not source.text[source.text.rfind("\n", 0, offset) + 1 : offset].strip()


def _start_hint(piece: Sequence[Token]) -> str:
    """Help with a first word that begins no declaration."""
    first = str(piece[0])
    if first in STARTS:
        return STARTS[first]
    if len(piece) > 1 and piece[0].type == "NAME" and piece[1].type == "EQUAL":
        return f"values are named with `let`: `let {first} = …`"
    near = nearest(first, DECLARATIONS)
    return f"did you mean `{near}`?" if near else f"a declaration begins with {', '.join(DECLARATIONS)}"


def _structure_hint(source: Source, token: Token, piece: Sequence[Token], accepted: set[str]) -> str | None:
    """Help that follows from the declaration, the token, and what stands before it."""
    index = _place(token, piece)
    before, within = piece[index - 1], piece[:index]
    open = _unclosed(within)
    for kinds, tokens, wanted, help in _STRUCTURE:
        here = accepted == {wanted[1:]} if wanted[0] == "=" else wanted in accepted
        if here and token.type in tokens.split() and (not kinds or piece[0].type in kinds.split()):
            return help.format(before=before, first=piece[0], name=piece[1])
    loops = any(t.type == "FOR" for t in within)
    match piece[0].type, token.type:
        case "IMPORT" | "FROM", "NAME" if index == 1:
            return _LIBRARY if token == "std" else _PATHS
        case "IMPORT", _ if accepted == {"AS"}:
            stem = PurePath(before[1:-1].removeprefix("std:")).stem
            return f"name it: `import {before} as {stem if stem.isidentifier() else 'm'}`"
        case "PARAM", "EQUAL" if any(t.type == "IN" for t in within):
            return "the default stands before the domain: `param w: int = 3 in 1..8`"
        case "PARAM", _ if "DOTS" in accepted and before.type == "RSQB":
            return "a domain is a range, `1..8`, or a set in braces, `{1, 2, 4}`"
        case "NET", "EQUAL" if accepted == {"LPAR"} and any(t.type == "WITH" for t in within):
            return f"an option takes its value in parentheses: `{before}(…)`"
        case "NET", "EQUAL" if accepted == {"LPAR"}:
            return "a net declares its input and output: `net N(x: f32[3, 32, 32]) -> f32[10] = …`"
        case "NET", "INT" | "LPAR" if "LSQB" in accepted and "FLOW" not in accepted:
            return "a tensor's type names its elements, such as `f32[3, 32, 32]`"
        case "RULE", "PLUS" if accepted == {"RSQB"} and before.type == "INT":
            return "the level stands before the number: `[n+1]`"
        case "RULE", "MINUS" if accepted == {"PLUS", "RSQB"}:
            name = piece[index - 3]
            return f"a case counts up from the levels that it mentions: `{name}[n+1] = … {name}[n] …`"
        case kind, "COMMA" | "RPAR" | "EQUAL" if accepted == {"COLON"} and before.type == "NAME":
            return f"`{before}` needs a type: `{before}: {'f32[3, 32, 32]' if kind == 'NET' else 'int'}`"
        case _, "LPAR" if accepted == {"NAME"} and loops:
            return "names of a loop stand in one row: `for i, a, b in zip(range(len(xs)), xs, ys)`"
        case _, "BAR" if before.type == "BAR":
            return "write `or`; columns stand side by side by one `|`"
        case _, "COLON" if open is not None and _indexes(open, within) and {"FLOW", "FLOAT"} & accepted:
            return "there are no slices: `[a[i] for i in range(1, len(a))]`"
        case _, _ if token.value in DECLARATIONS and before.type == "EQUAL":
            return f"declarations do not nest: put the `{token}` before this one"
        case _, "COMMA" if open is not None and "FLOW" in accepted:
            return _list_hint(source, open, token, piece)
        case _:
            return None


def _indexes(bracket: Token, piece: Sequence[Token]) -> bool:
    """Whether a bracket holds an index: it stands behind a value."""
    place = _place(bracket, piece)
    before = piece[place - 1]
    return bracket.type == "LSQB" and before.type in ("NAME", "RPAR", "RSQB") and before not in ("f32", "i64")


def _list_hint(source: Source, open: Token, comma: Token, piece: Sequence[Token]) -> str | None:
    """Help with a comma inside of ``(3, 5)`` or of ``F[3, 8]``."""
    before, after = piece[_place(open, piece) - 1], piece[_place(comma, piece) + 1 :]
    first = _between(source, open, comma)
    close = next((t for t in after if t.type in (*OPEN, *OPEN.values())), None)
    rest = "…"
    if close is not None and close.type == OPEN[open.type]:
        rest = _between(source, comma, close) or rest
    if open.type == "LPAR":
        return f"lists stand in brackets: `[{first}, {rest}]`"
    if open.type == "LSQB" and before.type == "NAME":
        return f"arguments stand in parentheses behind the level: `{before}[{first}]({rest})`"
    return None


def _between(source: Source, first: Token, last: Token) -> str:
    """The text between two tokens, on one line."""
    return " ".join(source.slice(Span(first.end_pos or 0, last.start_pos or 0)).split())
