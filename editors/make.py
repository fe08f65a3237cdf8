"""Write what editors colour from the words of the language: ``python editors/make.py``.

The TextMate grammar of the VS Code extension and the syntax file of Vim change with the language. A test compares both
with what this script writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fractal_dsl.language.text_to_syntax.words import DECLARATIONS
from fractal_dsl.services.highlighting import CONSTANTS, LOGIC, NATIVES, NUMBER_PATTERNS, OPERATORS, OTHERS, TYPE_NAMES

FOLDER = Path(__file__).parent
TEXTMATE = FOLDER / "vscode" / "syntaxes" / "frac.tmLanguage.json"
VIM = FOLDER / "vim" / "syntax" / "frac.vim"
_NAME = r"[\p{L}_][\p{L}\p{M}\p{N}_]*"


def _any(words: Iterable[str]) -> str:
    return rf"\b(?:{'|'.join(words)})\b"


def _captured(pattern: str, *scopes: str) -> dict[str, Any]:
    """A pattern with a scope for each group."""
    return {"match": pattern, "captures": {str(i): {"name": scope} for i, scope in enumerate(scopes, 1)}}


def textmate() -> str:
    """The TextMate grammar: one list of patterns, of which none spans lines."""

    patterns: list[dict[str, Any]] = [
        {"match": r"##.*$", "name": "comment.line.documentation.frac"},
        {"match": r"#.*$", "name": "comment.line.number-sign.frac"},
        {"match": r'"[^"\n]*"', "name": "string.quoted.double.frac"},
        *({"match": pattern, "name": "constant.numeric.frac"} for pattern in NUMBER_PATTERNS),
        _captured(rf"\b(layer|rule|net)\s+({_NAME})", "storage.type.frac", "entity.name.function.frac"),
        _captured(rf"\b(param|let|shared)\s+({_NAME})", "storage.type.frac", "variable.other.constant.frac"),
        _captured(rf"(@)\s*({_NAME})", "keyword.operator.frac", "entity.name.function.decorator.frac"),
        {"match": _any(DECLARATIONS), "name": "storage.type.frac"},
        {"match": _any(CONSTANTS), "name": "constant.language.frac"},
        {"match": _any(LOGIC), "name": "keyword.operator.logical.frac"},
        {"match": _any(OTHERS), "name": "keyword.control.frac"},
        {"match": _any(TYPE_NAMES), "name": "support.type.frac"},
        {"match": _any(NATIVES), "name": "support.function.frac"},
        {"match": _NAME, "name": "variable.other.frac"},
        {"match": OPERATORS, "name": "keyword.operator.frac"},
        {"match": r"[()\[\]{},:.]", "name": "punctuation.frac"},
    ]
    grammar = {"name": "Frac", "scopeName": "source.frac", "fileTypes": ["frac"], "patterns": patterns}
    return json.dumps(grammar, indent=2, ensure_ascii=False) + "\n"


def vim() -> str:
    """The syntax file of Vim."""
    groups = {
        "fracDeclaration": ("Structure", DECLARATIONS),
        "fracKeyword": ("Keyword", OTHERS),
        "fracConstant": ("Boolean", CONSTANTS),
        "fracLogic": ("Operator", LOGIC),
        "fracType": ("Type", TYPE_NAMES),
        "fracNative": ("Function", NATIVES),
    }
    matches = {
        "fracOperator": ("Operator", r"/>>\|\*\*\|\/\/\|==\|!=\|<=\|>=\|->\|\.\.\|[|+\-*\/%<>=]/"),
        "fracAnnotation": ("PreProc", r"/@\s*\h\w*/"),
        "fracNumber": ("Number", r"/\<\d\+\%(_\d\+\)*\%(\.\d\+\)\?\%([eE][+-]\?\d\+\)\?%\?/"),
        "fracString": ("String", r'/"[^"]*"/'),
        "fracComment": ("Comment", r"/#.*$/ contains=fracTodo,@Spell"),
        "fracDoc": ("SpecialComment", r"/##.*$/ contains=@Spell"),
    }
    lines = ['" Syntax of Frac. Written by editors/make.py.', 'if exists("b:current_syntax")', "  finish", "endif", ""]
    lines += [f"syntax keyword {group} {' '.join(words)}" for group, (_, words) in groups.items()]
    lines += [f"syntax match {group} {pattern}" for group, (_, pattern) in matches.items()]
    lines += ["syntax keyword fracTodo TODO FIXME contained", ""]
    lines += [f"highlight default link {group} {link}" for group, (link, _) in {**groups, **matches}.items()]
    lines += ["highlight default link fracTodo Todo", "", 'let b:current_syntax = "frac"']
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TEXTMATE.write_text(textmate(), encoding="utf-8")
    VIM.write_text(vim(), encoding="utf-8")
