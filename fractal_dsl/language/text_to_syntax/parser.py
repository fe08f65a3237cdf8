"""Lark's LALR parser, fed token by token, so that an error knows what would have been accepted."""

# pyright: reportUnknownMemberType=false
# Lark leaves some parameters untyped.

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from copy import copy
from functools import cache
from typing import Any

from lark import Lark, Token, UnexpectedToken
from lark.lexer import BasicLexer, LexerThread

from fractal_dsl.base.cache import private_cache
from fractal_dsl.base.version import __version__
from fractal_dsl.language.grammar_file import grammar_path
from fractal_dsl.language.text_to_syntax.tree import TreeBuilder


@cache
def lark() -> Lark:
    """The parser of the grammar, built once. Its tables are cached between runs."""
    return Lark(
        grammar_path().read_text(encoding="utf-8"),
        parser="lalr",
        lexer="basic",
        start=["start", "decl", "expr"],
        propagate_positions=True,
        maybe_placeholders=False,
        cache=_cache_file() or False,
    )


def tokens_of(text: str) -> Iterator[Token]:
    """The tokens of a text, with spaces and comments. Raises UnexpectedCharacters.

    ``Lark.lex`` would build and check a lexer for each text.
    """
    return LexerThread.from_text(_lexer(), text).lex(None)


@cache
def _lexer() -> BasicLexer:
    """The lexer of the grammar, which ignores nothing."""
    conf = copy(lark().lexer_conf)
    conf.ignore = ()
    return BasicLexer(conf)


def _cache_file() -> str | None:
    """The file of Lark's cached parse tables. Nobody else can write to its folder, since it contains pickles."""
    folder = private_cache()
    name = f"frac-{__version__}-{sys.version_info[0]}.{sys.version_info[1]}.lark"
    return None if folder is None else str(folder / name)


class Unexpected(Exception):
    """The parser does not accept ``token``, only one of ``accepted``."""

    def __init__(self, token: Token, accepted: set[str]) -> None:
        super().__init__(str(token))
        self.token, self.accepted = token, accepted


def feed(start: str, tokens: Sequence[Token], end: int) -> Any:
    """Parse tokens by the grammar rule ``start``. ``end`` is the offset of the end of the text. Raises Unexpected."""
    parser: Any = lark().parse_interactive(start=start)
    last = Token("$END", "", start_pos=end, end_pos=end)
    tree: Any = None
    for i, token in enumerate((*tokens, last)):
        try:
            tree = parser.feed_token(token)
        except UnexpectedToken:  # the failed token has reduced the stack, so ask a parser that has not seen it
            fresh: Any = lark().parse_interactive(start=start)
            for earlier in tokens[:i]:
                fresh.feed_token(earlier)
            raise Unexpected(token, set(fresh.accepts())) from None
    return TreeBuilder().transform(tree)
