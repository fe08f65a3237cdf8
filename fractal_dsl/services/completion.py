"""What can be written at a place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from msgspec import Struct

from fractal_dsl.config import TrainConfig
from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.imports import library_names, load
from fractal_dsl.language.source import Source
from fractal_dsl.language.text_to_syntax.words import DECLARATIONS
from fractal_dsl.ops import JOINS, LAYERS
from fractal_dsl.program.syntax_to_program import INITS
from fractal_dsl.program.syntax_to_program.values import BUILTINS
from fractal_dsl.services.analysis import Analysis
from fractal_dsl.services.calls import called, parameter_names
from fractal_dsl.services.names import NameIndex
from fractal_dsl.services.natives import ANNOTATIONS, OPTIONS, TYPE_DOCS, entry, models
from fractal_dsl.services.places import Point, Range, offset_at, point_at
from fractal_dsl.services.signatures import declaration_head, doc
from fractal_dsl.services.situation import Situation, situation
from fractal_dsl.services.symbols import KINDS, Native, Symbol

_LISTED = 1000


class Completion(Struct, frozen=True):
    """A text to write over ``range``. ``kind`` says what it is; ``rank`` sorts completions, the likeliest first."""

    label: str
    kind: str
    detail: str
    doc: str
    text: str
    range: Range
    rank: int


class _Option(Struct, frozen=True):
    label: str
    kind: str
    detail: str = ""
    doc: str = ""
    text: str = ""
    rank: int = 1


def completions(analysis: Analysis, point: Point) -> list[Completion]:
    """The completions at a point. Editors filter them by the word that the user has begun."""
    source, offset = analysis.source, offset_at(analysis.source, point)
    around = situation(source, offset)
    if around.in_comment:
        return []
    range = Range(point_at(source, around.start), point_at(source, offset))
    options: dict[str, _Option] = {}
    for option in _options(analysis, around):
        options.setdefault(option.label, option)
    return [Completion(o.label, o.kind, o.detail, o.doc, o.text or o.label, range, o.rank) for o in options.values()]


def _options(analysis: Analysis, around: Situation) -> Iterator[_Option]:
    if around.in_string:
        yield from _strings(analysis, around)
    elif around.last == "DOT":
        yield from _members(analysis, around)
    elif around.last == "AT":
        yield from [_Option(name, "annotation", known.text, known.doc) for name, known in ANNOTATIONS.items()]
    elif _expects_name(around):
        return
    elif around.last in ("COLON", "ARROW"):
        tensors = around.declaration == "net"
        names = [name for name in TYPE_DOCS if (name in ("f32", "i64")) == tensors]
        yield from [_Option(name, "type", "", TYPE_DOCS[name]) for name in names]
    elif around.begins_line and not around.open and not around.indented:
        yield from [_Option(word, "keyword", rank=0) for word in DECLARATIONS]
    elif len(around.before) == 1 and around.declaration in DECLARATIONS and not around.open:
        yield from [_Option(word, "keyword") for word in ("layer", "join") if around.declaration == "extern"]
    elif _expects_option(around):
        yield from [_Option(name, "option", known.text, known.doc) for name, known in OPTIONS.items()]
    elif around.declaration == "train":
        yield from _settings(analysis, around)
    elif around.declaration == "from" and around.last in ("IMPORT", "COMMA"):
        yield from _imported(analysis, around)
    elif around.last not in ("NAME", "RPAR", "RSQB", "INT", "FLOAT", "PROB", "STRING") or around.begins_line:
        yield from _expressions(analysis, around)
    else:
        yield from [_Option(word, "keyword") for word in _followers(around)]


def _followers(around: Situation) -> Iterable[str]:
    """Keywords that may follow a value or a head."""
    heads = {"import": ("as",), "from": ("import",), "net": ("with", "where"), "rule": ("join", "when", "where")}
    bodies = dict.fromkeys(("layer", "let", "shared"), ("where",))
    return (heads | bodies).get(around.declaration, ()) + (
        ("for", "in", "and", "or") if around.open else ("in",) if around.declaration == "param" else ()
    )


def _expects_name(around: Situation) -> bool:
    """Whether the name of a value comes next."""
    words = [t.type for t in around.before]
    return not around.open and "WHERE" in words and words[-1] in ("WHERE", "COMMA")


def _expects_option(around: Situation) -> bool:
    words = [t.type for t in around.before]
    return around.declaration == "net" and not around.open and "WITH" in words and words[-1] in ("WITH", "COMMA")


def _expressions(analysis: Analysis, around: Situation) -> Iterator[_Option]:
    callee = called(analysis, around)
    if callee is not None and around.last in ("LPAR", "COMMA"):
        yield from _arguments(callee)
    if around.last == "EQUAL" and around.open:
        yield from [_Option(word, "value", rank=2) for word in ("true", "false")]
    yield from [_Option(name, "local", rank=0) for name in around.locals()]
    kinds = {"layer": LAYERS, "join": JOINS, "function": BUILTINS}
    wanted = {*KINDS} - {"net"}
    if around.last == "JOIN":  # of a rule
        kinds, wanted = {"join": JOINS}, {"join", "file"}
    symbols = analysis.names.top(analysis.file).values()
    yield from [_symbol(symbol) for symbol in symbols if symbol.declared.kind in wanted]
    for kind, names in kinds.items():
        yield from [_native(Native(kind, name), kind) for name in names]  # pyright: ignore[reportArgumentType]


def _symbol(symbol: Symbol) -> _Option:
    return _Option(symbol.name, symbol.declared.kind, declaration_head(symbol), doc(symbol))


def _native(native: Native, kind: str) -> _Option:
    known = entry(native)
    return _Option(native.name, kind, known.text if known else "", known.doc if known else "", rank=2)


def _arguments(callee: Symbol | Native) -> Iterator[_Option]:
    """The parameters of a call by name."""
    for name in parameter_names(callee):
        if isinstance(callee, Symbol):
            written = next(q for q in callee.params if q.name.id == name)
            detail = " ".join(callee.declared.source.slice(written.span).split())
            yield _Option(f"{name}=", "parameter", detail, rank=0)
        else:
            owner = "setting" if callee.kind == "variant" else "parameter"
            known = entry(Native(owner, name, callee.name))
            yield _Option(f"{name}=", "parameter", known.text if known else "", known.doc if known else "", rank=0)


def _members(analysis: Analysis, around: Situation) -> Iterator[_Option]:
    """The names of an imported file, or ``each`` after a block."""
    base = around.before[-2] if len(around.before) > 1 else None
    symbol = analysis.names.top(analysis.file).get(str(base)) if base is not None else None
    if symbol is not None and isinstance(symbol.node, s.Import):
        target = analysis.examined.files.targets.get(symbol.node.path.span)
        tops = analysis.names.top(target).values() if target else ()
        yield from [_symbol(inner) for inner in tops if inner.kind != "net"]
    elif base is not None and base.type in ("RPAR", "RSQB"):
        text = "The block at the end of every column of the rule, before the join."
        yield _Option("each", "function", ".each(block)", text)


def _settings(analysis: Analysis, around: Situation) -> Iterator[_Option]:
    """Settings of a train block, and their values."""
    if around.last == "EQUAL":
        key = str(around.before[-2])
        yield from _values(key)
        yield from _expressions(analysis, around)
    elif len(around.open) > 1:
        callee = called(analysis, around)
        if callee is not None and around.last in ("LPAR", "COMMA"):
            yield from _arguments(callee)
    elif around.open:
        set_already = {str(a) for a, b in pairwise(around.before) if b.type == "EQUAL"}
        for name in TrainConfig.model_fields:
            if name not in set_already:
                known = entry(Native("setting", name))
                assert known is not None
                yield _Option(name, "setting", known.text, known.doc, f"{name} = ", 0)


def _values(setting: str) -> Iterator[_Option]:
    for name, _ in models(setting):
        known = entry(Native("variant", name, setting))
        assert known is not None
        yield _Option(name, "variant", known.text, known.doc, name if "(" in known.text else f'"{name}"', 0)


def _strings(analysis: Analysis, around: Situation) -> Iterator[_Option]:
    """The possible values of a string: a path to import, the name of an initialisation or of a variant, a choice."""
    callee = called(analysis, around)
    if around.declaration in ("import", "from") and len(around.before) == 1:
        yield from [_Option(name, "file") for name in (*library_names(), *_paths(analysis.source.path))]
    elif callee == Native("option", "init"):
        yield from [_Option(name, "value") for name in INITS]
    elif around.declaration == "train" and around.last == "EQUAL":
        yield from [_Option(name, "variant") for name, _ in models(str(around.before[-2]))]
    elif isinstance(callee, Native) and callee.kind == "layer" and around.last == "EQUAL":
        params = {q.name: q for q in LAYERS[callee.name].params}
        param = params.get(str(around.before[-2]))
        yield from [_Option(text, "value") for text in (param.choices if param else ())]


def _paths(main: Path | None) -> list[str]:
    """The .frac files in the folder of a file and below, as it imports them."""
    if main is None:
        return []
    folder = main.parent
    names: list[str] = []
    for path in folder.rglob("*.frac"):
        if path != main and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            names.append(path.relative_to(folder).as_posix())
        if len(names) >= _LISTED:
            break
    return sorted(names)


def _imported(analysis: Analysis, around: Situation) -> Iterator[_Option]:
    """The names of the file that ``from "…" import`` names. It is read again, since its declaration is incomplete."""
    probe = Source(analysis.source.name, f"import {around.before[1]} as m")
    files = load(probe, Report(probe), analysis.opened)
    for decl in files.main.decls:
        target = files.targets.get(decl.path.span) if isinstance(decl, s.Import) else None
        if target is not None:
            yield from [_symbol(symbol) for symbol in NameIndex(files).top(target).values() if symbol.kind != "net"]
