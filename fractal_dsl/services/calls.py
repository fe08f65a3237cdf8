"""The call around a place: its callee, the callee's parameters, and the parameter at the place."""

from __future__ import annotations

from itertools import pairwise

from msgspec import Struct

from fractal_dsl.language import syntax as s
from fractal_dsl.services.analysis import Analysis
from fractal_dsl.services.natives import entry
from fractal_dsl.services.places import Point, offset_at
from fractal_dsl.services.signatures import doc, parameter_texts
from fractal_dsl.services.situation import Situation, situation
from fractal_dsl.services.symbols import Native, Symbol, native


class CallSignature(Struct, frozen=True):
    """A call: its callee with all parameters, the text of each, and the index of the one at the place."""

    text: str
    doc: str
    params: tuple[str, ...]
    active: int


def call_signature(analysis: Analysis, point: Point) -> CallSignature | None:
    """The call around a point. None outside calls, and for an unknown callee."""
    around = situation(analysis.source, offset_at(analysis.source, point))
    callee = called(analysis, around)
    if callee is None or around.in_comment:
        return None
    inside = around.inside
    name = str(inside[-2]) if len(inside) >= 2 and inside[-1].type == "EQUAL" else ""
    names = parameter_names(callee)
    active = names.index(name) if name in names else _commas(around)
    if isinstance(callee, Symbol):
        texts = parameter_texts(callee)
        return CallSignature(f"{callee.name}({', '.join(texts)})", doc(callee), tuple(texts), active) if texts else None
    known = entry(callee)
    if known is None or not known.params:
        return None
    inner = known.text.partition("(")[2].removesuffix(")")
    texts = tuple([text for text in inner.split(", ") if text != "*"])
    return CallSignature(known.text, known.doc, texts, active)


def _commas(around: Situation) -> int:
    """The number of commas at the level of the call."""
    depth, commas = 0, 0
    for token in around.inside:
        depth += token.type in ("LPAR", "LSQB", "LBRACE")
        depth -= token.type in ("RPAR", "RSQB", "RBRACE")
        commas += depth == 0 and token.type == "COMMA"
    return commas


def called(analysis: Analysis, around: Situation) -> Symbol | Native | None:
    """The callee of the innermost open parenthesis, such as `conv2d(`, `cnn.conv_bn(` or `F[3](`."""
    if around.bracket != "(":
        return None
    tokens = list(around.before[: around.open[-1]])
    if tokens and tokens[-1].type == "RSQB":
        depth = 0
        while tokens:
            token = tokens.pop()
            depth += (token.type == "RSQB") - (token.type == "LSQB")
            if depth == 0:
                break
    if not tokens or tokens[-1].type != "NAME":
        return None
    name, owner = str(tokens[-1]), str(tokens[-2]) if len(tokens) > 1 else ""
    if len(tokens) > 2 and tokens[-2].type == "DOT":
        return member(analysis, str(tokens[-3]), name)
    top = analysis.names.top(analysis.file)
    if around.declaration == "train" and name not in top:
        return _variant(around, name)
    if around.declaration == "net" and name in ("drop_path", "init") and name not in top:
        return Native("option", name)
    return Native("annotation", name) if owner == "@" else top.get(name) or native(name)


def _variant(around: Situation, name: str) -> Native:
    """The variant that a train block calls: `optimizer = sgd(`."""
    keys = [a for a, b in pairwise(around.before) if b.type == "EQUAL"]
    outer = [str(key) for key in keys if str(key) != name]
    return Native("variant", name, outer[-1] if outer else "")


def member(analysis: Analysis, alias: str, name: str) -> Symbol | None:
    """A name of an imported file."""
    symbol = analysis.names.top(analysis.file).get(alias)
    node = symbol.node if symbol else None
    return analysis.names.imported(node, name) if isinstance(node, s.Import) else None


def parameter_names(callee: Symbol | Native) -> tuple[str, ...]:
    """The names of a callee's parameters."""
    if isinstance(callee, Symbol):
        return tuple([q.name.id for q in callee.params])
    known = entry(callee)
    return known.params if known else ()
