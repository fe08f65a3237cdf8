"""References in built trees, and walks through them."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl.builder.errors import BuilderError
from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.language.text_to_syntax import KEYWORDS
from fractal_dsl.language.walk import walk

BUILT_IN = "built in"
LOCAL = "local"
_NAME = re.compile(r"[^\W\d]\w*")
_Node = TypeVar("_Node")


class Ref(s.Name, frozen=True):
    """A name with what it refers to: a declaration, a parameter, a variable of a loop, BUILT_IN, or LOCAL for a name
    whose declaration encloses it."""

    of: Any = None


@dataclass(frozen=True)
class Parameter:
    """A parameter of a declaration, the level of a rule, or an input of a net. ``owner`` is the signature it is of."""

    owner: Any
    name: str


def refs(node: Any) -> Iterator[Ref]:
    """The references in a node."""
    for part in walk(node):
        if isinstance(part, Ref):
            yield part


def mapped(node: _Node, change: Callable[[Ref], s.Name]) -> _Node:
    """A node with other references."""
    if isinstance(node, Ref):
        return cast(_Node, change(node))
    if isinstance(node, tuple):
        return cast(_Node, tuple([mapped(item, change) for item in cast(tuple[Any, ...], node)]))
    if not isinstance(node, Struct) or isinstance(node, Span):
        return node
    old = {name: getattr(node, name) for name in node.__struct_fields__}
    new = {name: mapped(value, change) for name, value in old.items()}
    changed = {name: value for name, value in new.items() if value is not old[name]}
    return replace(node, **changed) if changed else node


def declared_name(name: str, at: Span) -> str:
    """A Python name as a name of the language: ``class_`` is ``class``. Raises BuilderError for its words."""
    stem = name.removesuffix("_")
    name = stem if keyword.iskeyword(stem) else name
    if name in KEYWORDS:
        raise BuilderError(f"`{name}` is a word of the language: choose another name", at)
    if not _NAME.fullmatch(name):
        raise BuilderError(f"`{name}` is not a name: names consist of letters, digits and `_`", at)
    return name
