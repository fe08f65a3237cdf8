"""What was expected, what was found, and what may have been meant, in the words of people."""

from __future__ import annotations

from collections.abc import Sequence

from lark import Token

from fractal_dsl.diagnostics import Report, nearest
from fractal_dsl.source import Source, Span
from fractal_dsl.text_to_syntax.parser import Unexpected
from fractal_dsl.text_to_syntax.tree import span_of
from fractal_dsl.text_to_syntax.words import DECLARATIONS, KEYWORDS, OPEN, TERMINALS

_EXPRESSION = {"NAME", "INT", "FLOAT", "PROB", "STRING", "LPAR", "LSQB", "MINUS", "NOT", "TRUE", "FALSE"}
_OPERATORS = {
    *("BAR", "FLOW", "POWER", "PLUS", "MINUS", "STAR", "SLASH", "DOUBLESLASH", "PERCENT", "EQEQ", "NOTEQ"),
    *("LE", "GE", "LT", "GT", "AND", "OR", "AT", "DOT", "LPAR", "LSQB"),
}


def report_token(source: Source, error: Unexpected, piece: Sequence[Token], report: Report) -> None:
    """Report the token that stopped the parser in a piece of a file."""
    token = error.token
    at_end = token.type == "$END"
    open_bracket = _unclosed(piece if at_end else piece[: _place(token, piece)])
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
