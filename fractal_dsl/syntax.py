"""The syntax tree: frozen dataclasses, every node with its span.

An expression is one of ``Expr``, a declaration one of ``Decl``; both are read with ``match``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fractal_dsl.source import Source, Span

# --- expressions


@dataclass(frozen=True, slots=True)
class Literal:
    """``64``, ``0.5``, ``15%`` (``prob`` is true), ``"xavier"``, ``true``."""

    value: int | float | str | bool
    span: Span
    prob: bool = False


@dataclass(frozen=True, slots=True)
class Name:
    """``conv``"""

    id: str
    span: Span


@dataclass(frozen=True, slots=True)
class Items:
    """``[64, 128]``"""

    items: tuple[Expr, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Comprehension:
    """``F[columns](w) for w in widths``: in brackets, or as the only argument of a call."""

    body: Expr
    targets: tuple[Name, ...]
    iterable: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Unary:
    """``-x``, ``not x``"""

    op: str
    operand: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Binary:
    """``x + y``, ``x ** y``, ``x < y``, ``x and y``: every infix operator but ``>>`` and ``|``."""

    op: str
    left: Expr
    right: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Flow:
    """``a >> b >> c``: composition in the direction of data flow."""

    steps: tuple[Expr, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Columns:
    """``a | b | c``: columns side by side, closed by the join of the rule."""

    columns: tuple[Expr, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Arg:
    """An argument, by position (``name`` is None) or by name."""

    name: str | None
    value: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Call:
    """``conv(64, padding=1)``"""

    func: Expr
    args: tuple[Arg, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Index:
    """``widths[n]``, ``F[n]``"""

    base: Expr
    index: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Attribute:
    """``m.F``, ``F[n].each``, ``nn.Hardswish``"""

    base: Expr
    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class Annotated:
    """``block @tag("stem")``"""

    base: Expr
    name: str
    args: tuple[Arg, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Broken:
    """Stands for what could not be parsed; its error is reported already."""

    span: Span


Expr = (
    Literal
    | Name
    | Items
    | Comprehension
    | Unary
    | Binary
    | Flow
    | Columns
    | Call
    | Index
    | Attribute
    | Annotated
    | Broken
)

# --- types and domains


@dataclass(frozen=True, slots=True)
class TypeExpr:
    """``int``, ``[prob]`` (``item`` is set), ``f32[3, 32, 32]`` (``dims`` is set)."""

    name: str
    span: Span
    item: TypeExpr | None = None
    dims: tuple[Expr, ...] | None = None


@dataclass(frozen=True, slots=True)
class RangeDomain:
    """``in 1..8``, both ends included."""

    low: Expr
    high: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class SetDomain:
    """``in {"a", "b"}``"""

    values: tuple[Expr, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a signature: ``drop: prob = 0%``."""

    name: Name
    type: TypeExpr
    default: Expr | None
    span: Span


# --- declarations


@dataclass(frozen=True, slots=True)
class Import:
    """``import "path.frac" as m``"""

    path: Literal
    name: Name
    span: Span
    doc: str = ""


@dataclass(frozen=True, slots=True)
class FromImport:
    """``from "path.frac" import F, conv as c``: pairs of the name there and the name here."""

    path: Literal
    names: tuple[tuple[Name, Name], ...]
    span: Span
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Param:
    """``param columns: int = 3 in 1..8``"""

    name: Name
    type: TypeExpr
    default: Expr | None
    domain: RangeDomain | SetDomain | None
    span: Span
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Let:
    """``let x = expr``, or ``shared x = block``."""

    name: Name
    value: Expr
    shared: bool
    span: Span
    doc: str = ""


@dataclass(frozen=True, slots=True)
class LayerDecl:
    """``layer name(sig) = block``, or ``join name(sig) = block`` (``is_join`` is true)."""

    name: Name
    params: tuple[Parameter, ...]
    body: Expr
    is_join: bool
    span: Span
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """``F[1] = …``, ``F[n] = …``, ``F[n+1] when n > 3 = …``.

    ``var`` is None for a fixed level; then ``offset`` is the level. Otherwise the level is ``var + offset``.
    """

    rule: Name
    var: Name | None
    offset: int
    guard: Expr | None
    body: Expr
    span: Span
    head: Span


@dataclass(frozen=True, slots=True)
class RuleDecl:
    """``rule F(sig) join J { cases }``"""

    name: Name
    params: tuple[Parameter, ...]
    join: Expr | None
    cases: tuple[Case, ...]
    span: Span
    doc: str = ""


@dataclass(frozen=True, slots=True)
class NetDecl:
    """``net Name(x: type) -> type with … = block``"""

    name: Name
    input: Name
    input_type: TypeExpr
    output_type: TypeExpr
    options: tuple[Call, ...]
    body: Expr
    span: Span
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """``key = value`` in a train block."""

    key: Name
    value: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class TrainDecl:
    """``train { … }``"""

    settings: tuple[Setting, ...]
    span: Span
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Extern:
    """``extern layer name(sig) from "pkg.module:Class"``"""

    name: Name
    params: tuple[Parameter, ...]
    target: Literal
    is_join: bool
    span: Span
    doc: str = ""


@dataclass(frozen=True, slots=True)
class BrokenDecl:
    """A declaration with a syntax error; its name, where one was read, counts as known."""

    name: str | None
    span: Span


Decl = Import | FromImport | Param | Let | LayerDecl | RuleDecl | NetDecl | TrainDecl | Extern | BrokenDecl


@dataclass(frozen=True, slots=True)
class Comment:
    """``# …``, with the marks."""

    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class File:
    """A parsed file. ``edition`` is None where the file does not say (or is broken)."""

    source: Source
    edition: Literal | None
    decls: tuple[Decl, ...]
    comments: tuple[Comment, ...] = field(default=())
