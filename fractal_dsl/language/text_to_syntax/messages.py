"""Syntax errors in plain English: what was expected, what is there, and what may have been meant."""

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
    *("LE", "GE", "LT", "GT", "AND", "OR", "AT", "DOT", "LPAR", "LSQB", "WHERE"),
}

_VALUES = {"INT", "FLOAT", "PROB", "STRING", "TRUE", "FALSE"}
STARTS = {
    **dict.fromkeys(("def", "class", "fn", "function"), "declare a block with `layer`: `layer … = …`"),
    **dict.fromkeys(("const", "var"), "name a value with `let`: `let … = …`"),
    **dict.fromkeys(("for", "while"), "write loops inside `seq` or a list: `seq(conv2d(w, 3) for w in [8, 16])`"),
    **dict.fromkeys(("model", "network"), "declare a network with `net`: `net N(x: f32[3, 32, 32]) -> f32[10] = …`"),
}
"""Words that begin a declaration in other languages."""

_LIBRARY = 'quote the name of a standard file, too: `import "std:cnn" as cnn`'
_PATHS = 'layers are built in; import a file by its path: `import "blocks.frac" as blocks`'
_STRUCTURE = (
    ("NET", "WITH", "FLOW", "write options before `=`: `net N(…) -> f32[10] with … = …`"),
    ("NET", "EQUAL", "=ARROW", "declare the output before `=`, such as `-> f32[10]`"),
    ("NET", "LSQB", "=COLON", "the input needs a name: `x: {before}[…]`"),
    ("NET LAYER SHARED", "GT", "AND", "compose blocks with `>>`"),
    ("RULE", "LPAR", "=LSQB", "write levels in brackets: `{before}[1]`, `{before}[n+1]`"),
    ("RULE", "LPAR", "WHEN", "declare arguments once, after the rule's name: `rule {name}(…)`"),
    ("RULE TRAIN", "COLON EQUAL", "LBRACE", "write the body in braces: `{{ … }}`"),
    ("RULE TRAIN", "COMMA", "RBRACE", "do not separate settings or cases by commas"),
    ("LET SHARED", "COLON", "=EQUAL", "types are inferred here: `{first} {before} = …`"),
    ("LAYER", "ARROW", "EQUAL", "leave the output type out: it is inferred"),
    ("LAYER NET JOIN", "LBRACE", "EQUAL", "write `=` and no braces around the body"),
    (
        "JOIN",
        "WHERE",
        "FLOW",
        "a join has several inputs, so it has no values: bind them in the body that uses the join",
    ),
    ("", "WHERE", "FLOW", "write `where` once, at the end of a body and outside its brackets"),
    ("", "FOR", "LPAR", "write loops inside `seq` or a list: `seq(conv2d(w, 3) for w in [8, 16])`"),
    ("", "COLON", "EQUAL", "write `=`"),
    ("", "LT LE GT GE EQEQ NOTEQ", "AND", "comparisons do not chain: `0 < n and n < 3`"),
)
"""Rows of: declarations (empty: any), tokens that stop the parser there, what it would accept instead (with ``=``: only
that), and the help. The first row that matches applies."""

NO_IF = "there is no `if`: use a guard (`when`) on a rule's case, or `block ** n`, which skips the block if n is 0"
IN_EXPRESSIONS = {"->": "did you mean `>>`?", "if": NO_IF, "else": NO_IF}
"""Words and operators of other languages."""


def report_token(source: Source, error: Unexpected, piece: Sequence[Token], report: Report) -> None:
    """Report the token that stopped the parser."""
    token = error.token
    at_end = token.type == "$END"
    open_bracket = _unclosed(piece[: _place(token, piece)])
    accepted = error.accepted - {"$END"}
    instead = "the declaration ends here" if at_end else f"found `{token}`"
    span = Span(max(0, (piece[-1].end_pos or 0) - 1), piece[-1].end_pos or 0) if at_end else span_of(token)
    if not at_end and token.type in OPEN.values() and open_bracket is None:
        report.error("E0103", span, f"`{token}` closes nothing", help="remove it, or add the opening bracket")
        return
    closing = OPEN[open_bracket.type] if open_bracket else None
    if open_bracket and (at_end or token.type in OPEN.values()):
        line, column = source.position(open_bracket.start_pos or 0)
        shown = TERMINALS[closing or ""]
        message = f"`{open_bracket}` is not closed: expected {shown}, but {instead}"
        if not at_end and token.type == closing:
            message = f"something is missing before `{token}`: expected {_phrase(accepted)}"
            report.error("E0102", span, message, help=_hint(source, token, piece, accepted))
            return
        report.error("E0103", span, message, help=f"the bracket opens at line {line}, column {column}")
        return
    message, help = f"expected {_phrase(accepted)}, but {instead}", _hint(source, token, piece, accepted)
    report.error("E0102", span, message, label="" if at_end else "not expected here", help=help)


def _place(token: Token, piece: Sequence[Token]) -> int:
    """The index of the token, by identity, since tokens compare as strings. The end token comes after all."""
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
        return "begin a comment with `#`"
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
        return f"`{token}` is a keyword: choose another name, such as `{token}_`"
    if token.type == "EQUAL" and "EQEQ" in accepted:
        return "write `==` to compare; `=` names an argument or begins a definition"
    if before.type == "PROB":
        return "`15%` is a probability: for a remainder, add a space: `15 % 4`"
    if "FLOW" in accepted and str(token) in IN_EXPRESSIONS:
        return IN_EXPRESSIONS[str(token)]
    if "COMMA" in accepted and token.type in _VALUES and _unclosed(piece[:index]):
        return f"add a comma before `{token}`"
    if token.type == "NAME" and before.type in ("NAME", "RPAR", "INT", "PROB"):
        near = nearest(str(before), KEYWORDS)
        if index == 1 and near and before.type == "NAME":
            return f"did you mean `{near}`?"
        return "compose blocks with `>>`; separate arguments by `,`" if "FLOW" in accepted else None
    return None


def _in_foreign_comment(source: Source, token: Token, piece: Sequence[Token]) -> bool:
    """Whether the token is in a C comment: after a ``//`` at the start of its line, or in ``/*``."""
    start, end = token.start_pos or 0, token.end_pos or 0
    begin = source.text.rfind("\n", 0, max(0, start - source.base)) + 1
    line = source.text[begin : end - source.base].lstrip()
    slash = any(t.type == "SLASH" and t.end_pos == start for t in piece)
    return line.startswith(("//", "/*")) or (token.type == "STAR" and slash)


def begins_line(source: Source, offset: int) -> bool:
    """Whether only white space precedes the offset on its line."""
    offset -= source.base
    return not source.text[source.text.rfind("\n", 0, offset) + 1 : offset].strip()


def _start_hint(piece: Sequence[Token]) -> str:
    """Help for a first word that does not begin a declaration."""
    first = str(piece[0])
    if first in STARTS:
        return STARTS[first]
    if len(piece) > 1 and piece[0].type == "NAME" and piece[1].type == "EQUAL":
        return f"name a value with `let`: `let {first} = …`"
    near = nearest(first, DECLARATIONS)
    return f"did you mean `{near}`?" if near else f"a declaration begins with {', '.join(DECLARATIONS)}"


def _structure_hint(source: Source, token: Token, piece: Sequence[Token], accepted: set[str]) -> str | None:
    """Help that depends on the declaration, the token, and the token before it."""
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
            return f"give it a name: `import {before} as {stem if stem.isidentifier() else 'm'}`"
        case "PARAM", "EQUAL" if any(t.type == "IN" for t in within):
            return "write the default before the domain: `param w: int = 3 in 1..8`"
        case "PARAM", _ if "DOTS" in accepted and before.type == "RSQB":
            return "a domain is a range, `1..8`, or a set in braces, `{1, 2, 4}`"
        case "NET", "EQUAL" if accepted == {"LPAR"} and any(t.type == "WITH" for t in within):
            return f"write the value of an option in parentheses: `{before}(…)`"
        case "NET", "EQUAL" if accepted == {"LPAR"}:
            return "declare the net's input and output: `net N(x: f32[3, 32, 32]) -> f32[10] = …`"
        case "NET", "INT" | "LPAR" if "LSQB" in accepted and "FLOW" not in accepted:
            return "write the element type of the tensor, such as `f32[3, 32, 32]`"
        case "RULE", "PLUS" if accepted == {"RSQB"} and before.type == "INT":
            return "write the variable first: `[n+1]`"
        case "RULE", "MINUS" if accepted == {"PLUS", "RSQB"}:
            name = piece[index - 3]
            return f"write `n+1` on the left and `n` on the right: `{name}[n+1] = … {name}[n] …`"
        case kind, "COMMA" | "RPAR" | "EQUAL" if accepted == {"COLON"} and before.type == "NAME":
            return f"`{before}` needs a type: `{before}: {'f32[3, 32, 32]' if kind == 'NET' else 'int'}`"
        case _, "LPAR" if accepted == {"NAME"} and loops:
            return "loop names do not nest: `for i, a, b in zip(range(len(xs)), xs, ys)`"
        case _, "BAR" if before.type == "BAR":
            return "write `or`; columns use a single `|`"
        case _, "COLON" if open is not None and _indexes(open, within) and {"FLOW", "FLOAT"} & accepted:
            return "there are no slices: write `[a[i] for i in range(1, len(a))]`"
        case _, _ if token.value in DECLARATIONS and before.type == "EQUAL":
            return f"declarations do not nest: put the `{token}` before this one"
        case _, "COMMA" if open is not None and "FLOW" in accepted:
            return _list_hint(source, open, token, piece)
        case _:
            return None


def _indexes(bracket: Token, piece: Sequence[Token]) -> bool:
    """Whether a bracket begins an index: it follows a value."""
    place = _place(bracket, piece)
    before = piece[place - 1]
    return bracket.type == "LSQB" and before.type in ("NAME", "RPAR", "RSQB") and before not in ("f32", "i64")


def _list_hint(source: Source, open: Token, comma: Token, piece: Sequence[Token]) -> str | None:
    """Help for a comma inside ``(3, 5)`` or ``F[3, 8]``."""
    before, after = piece[_place(open, piece) - 1], piece[_place(comma, piece) + 1 :]
    first = _between(source, open, comma)
    close = next((t for t in after if t.type in (*OPEN, *OPEN.values())), None)
    rest = "…"
    if close is not None and close.type == OPEN[open.type]:
        rest = _between(source, comma, close) or rest
    if open.type == "LPAR" and before.type == "EQUAL" and piece[0].type in ("LAYER", "RULE"):
        return "only a net has several outputs"
    if open.type == "LPAR":
        return f"write lists in brackets: `[{first}, {rest}]`"
    if open.type == "LSQB" and before.type == "NAME":
        return f"write arguments in parentheses after the level: `{before}[{first}]({rest})`"
    return None


def _between(source: Source, first: Token, last: Token) -> str:
    """The text between two tokens, on one line."""
    return " ".join(source.slice(Span(first.end_pos or 0, last.start_pos or 0)).split())
