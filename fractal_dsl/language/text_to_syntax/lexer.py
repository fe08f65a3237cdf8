"""Text to tokens. Invalid characters are reported and skipped."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Lark leaves some parameters untyped.

from __future__ import annotations

import re
from collections.abc import Sequence

from lark import Token, UnexpectedCharacters

from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.source import Source, Span
from fractal_dsl.language.text_to_syntax.messages import NO_IF
from fractal_dsl.language.text_to_syntax.parser import tokens_of
from fractal_dsl.language.text_to_syntax.tree import span_of
from fractal_dsl.language.text_to_syntax.words import DECLARATIONS, OPEN

MAX_NESTING = 40
MAX_RUN = 100  # tokens between separators; bounds the depth of chains such as `a + b + c …`
MAX_ERRORS = 20
MAX_TOKENS = 50_000
_CARRIAGE_RETURN = re.compile(r"\r(?!\n)")
_REORDERING = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]+")  # controls of bidirectional text
_QUOTED = re.compile(r"""'([^'"\n]*)'""")


def lex(source: Source, report: Report) -> tuple[list[Token], tuple[s.Comment, ...]]:
    """Split a source into tokens and comments. Invalid characters are reported and skipped."""
    text = source.text
    if alone := _CARRIAGE_RETURN.search(text):  # programs disagree on whether it ends a line
        at = source.base + alone.start()
        help = "end lines with LF or CRLF"
        report.error("E0101", Span(at, at + 1), "a carriage return without a line feed", help=help)
        return [], ()
    for _ in range(MAX_ERRORS):
        try:
            tokens = list(tokens_of(text))
            break
        except UnexpectedCharacters as error:
            at = error.pos_in_stream
            quoted = _QUOTED.match(text, at)
            if quoted:  # continue as if it were in double quotes
                text = text[:at] + f'"{quoted[1]}"' + text[quoted.end() :]
                span = Span(source.base + at, source.base + quoted.end())
                help = f'write strings in double quotes: `"{quoted[1]}"`'
                report.error("E0101", span, "`'` is not a valid character", help=help)
                continue
            text = text[:at] + " " + text[at + 1 :]
            _report_character(source, at, report)
    else:
        return [], ()
    for token in tokens:
        token.start_pos = (token.start_pos or 0) + source.base
        token.end_pos = (token.end_pos or 0) + source.base
    _warn_of_reordering(source, report)
    comments = tuple(s.Comment(str(t), span_of(t)) for t in tokens if t.type == "COMMENT")
    return [t for t in tokens if t.type not in ("COMMENT", "SPACE")], comments


def _report_character(source: Source, at: int, report: Report) -> None:
    char, span = source.text[at], Span(source.base + at, source.base + at + 1)
    if char == '"':
        report.error("E0101", span, "this string is not closed", help='close it with `"` on the same line')
        return
    known = {
        "'": 'write strings in double quotes: "…"',
        ";": "remove it: declarations need no semicolon",
        "&": "write `and`",
    }
    known |= {
        "?": NO_IF,
        "!": "write `not`",
        "^": "write `**` for a power",
        "“": 'write strings in straight quotes: "…"',
    }
    shown = f"`{char}`" if char.isprintable() else f"the character U+{ord(char):04X}"
    report.error("E0101", span, f"{shown} is not a valid character", help=known.get(char))


def _warn_of_reordering(source: Source, report: Report) -> None:
    """Warn of characters in comments and texts that make a reader see other code than the compiler."""
    reported = {d.span.start for d in report.errors}
    for run in _REORDERING.finditer(source.text):
        span = Span(source.base + run.start(), source.base + run.end())
        if span.start not in reported:
            names = " ".join([f"U+{ord(c):04X}" for c in dict.fromkeys(run[0])])
            message = f"{names} changes the order in which the text around it is shown"
            help = "remove it: what you see may not be what is compiled"
            report.warning("W0101", span, message, help=help)


def check_nesting(tokens: Sequence[Token], report: Report) -> bool:
    """Report a file that is too long or nested too deeply. True if it is neither."""
    if len(tokens) > MAX_TOKENS:
        report.error("E0602", span_of(tokens[MAX_TOKENS]), f"the file has more than {MAX_TOKENS:,} tokens")
        return False
    runs = [0]
    for token in tokens:
        runs[-1] += 1
        if token.type in OPEN:
            runs.append(0)
            if len(runs) > MAX_NESTING + 1:
                report.error("E0105", span_of(token), f"brackets are nested deeper than {MAX_NESTING}")
                return False
        elif token.type in OPEN.values():
            if len(runs) > 1:
                runs.pop()
        elif token.type in ("COMMA", "FLOW", "BAR", "EQUAL") or token.value in DECLARATIONS:
            runs[-1] = 0
        elif runs[-1] > MAX_RUN:
            help = "name a part of it with `let`"
            report.error("E0105", span_of(token), f"the expression has more than {MAX_RUN} tokens", help=help)
            return False
    return True
