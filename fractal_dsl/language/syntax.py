"""The syntax tree: frozen structs, each with its span. Read expressions (``Expr``) and declarations (``Decl``) with
``match``."""

from __future__ import annotations

from msgspec import Struct, field

from fractal_dsl.language.source import Source, Span


class Literal(Struct, frozen=True):
    """``64``, ``0.5``, ``15%`` (``prob`` is true), ``"xavier"``, ``true``."""

    value: int | float | str | bool
    span: Span
    prob: bool = False


class Name(Struct, frozen=True):
    """``conv``"""

    id: str
    span: Span


class Items(Struct, frozen=True):
    """``[64, 128]``"""

    items: tuple[Expr, ...]
    span: Span


class Comprehension(Struct, frozen=True):
    """``F[columns](w) for w in widths``: in brackets, or as the only argument of a call."""

    body: Expr
    targets: tuple[Name, ...]
    iterable: Expr
    span: Span


class Unary(Struct, frozen=True):
    """``-x``, ``not x``"""

    op: str
    operand: Expr
    span: Span


class Binary(Struct, frozen=True):
    """``x + y``, ``x ** y``, ``x < y``, ``x and y``: every infix operator except ``>>`` and ``|``."""

    op: str
    left: Expr
    right: Expr
    span: Span


class Flow(Struct, frozen=True):
    """``a >> b >> c``: composition in the direction of data flow."""

    steps: tuple[Expr, ...]
    span: Span


class Columns(Struct, frozen=True):
    """``a | b | c``: parallel columns, merged by the join of the rule."""

    columns: tuple[Expr, ...]
    span: Span


class Arg(Struct, frozen=True):
    """An argument, by position (``name`` is None) or by name."""

    name: str | None
    value: Expr
    span: Span


class Call(Struct, frozen=True):
    """``conv(64, padding=1)``"""

    func: Expr
    args: tuple[Arg, ...]
    span: Span


class Index(Struct, frozen=True):
    """``widths[n]``, ``F[n]``"""

    base: Expr
    index: Expr
    span: Span


class Attribute(Struct, frozen=True):
    """``m.F``, ``F[n].each``, ``nn.Hardswish``"""

    base: Expr
    name: str
    span: Span


class Annotated(Struct, frozen=True):
    """``block @tag("stem")``"""

    base: Expr
    name: str
    args: tuple[Arg, ...]
    span: Span


class Binding(Struct, frozen=True):
    """``a = conv(out)`` after ``where``."""

    name: Name
    value: Expr
    span: Span


class Where(Struct, frozen=True):
    """``concat(id, a, b) where a = conv(out), b = a >> conv(out)``: the body of a declaration."""

    body: Expr
    values: tuple[Binding, ...]
    span: Span


class Outputs(Struct, frozen=True):
    """``(a >> head, linear(4))``: the outputs of a net that has several."""

    items: tuple[Expr, ...]
    span: Span


class Broken(Struct, frozen=True):
    """A placeholder for what could not be parsed; its error has been reported."""

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
    | Where
    | Outputs
    | Broken
)

# --- types and domains


class TypeExpr(Struct, frozen=True):
    """``int``, ``[prob]`` (``item`` is set), ``f32[3, 32, 32]`` (``dims`` is set)."""

    name: str
    span: Span
    item: TypeExpr | None = None
    dims: tuple[Expr, ...] | None = None

    def __str__(self) -> str:
        """The type as written, without the sizes of a tensor."""
        return f"[{self.item}]" if self.item else self.name


class RangeDomain(Struct, frozen=True):
    """``in 1..8``, both ends included."""

    low: Expr
    high: Expr
    span: Span


class SetDomain(Struct, frozen=True):
    """``in {"a", "b"}``"""

    values: tuple[Expr, ...]
    span: Span


class Parameter(Struct, frozen=True):
    """One parameter of a signature, ``drop: prob = 0%``, or an input of a net."""

    name: Name
    type: TypeExpr
    default: Expr | None
    span: Span


# --- declarations


class Import(Struct, frozen=True):
    """``import "path.frac" as m``"""

    path: Literal
    name: Name
    span: Span
    doc: str = ""


class FromImport(Struct, frozen=True):
    """``from "path.frac" import F, conv as c``: pairs of (name there, name here)."""

    path: Literal
    names: tuple[tuple[Name, Name], ...]
    span: Span
    doc: str = ""


class Param(Struct, frozen=True):
    """``param columns: int = 3 in 1..8``"""

    name: Name
    type: TypeExpr
    default: Expr | None
    domain: RangeDomain | SetDomain | None
    span: Span
    doc: str = ""


class Let(Struct, frozen=True):
    """``let x = expr``, or ``shared x = block``."""

    name: Name
    value: Expr
    shared: bool
    span: Span
    doc: str = ""


class LayerDecl(Struct, frozen=True):
    """``layer name(sig) = block``, or ``join name(sig) = block`` (``is_join`` is true)."""

    name: Name
    params: tuple[Parameter, ...]
    body: Expr
    is_join: bool
    span: Span
    doc: str = ""


class Case(Struct, frozen=True):
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


class RuleDecl(Struct, frozen=True):
    """``rule F(sig) join J { cases }``"""

    name: Name
    params: tuple[Parameter, ...]
    join: Expr | None
    cases: tuple[Case, ...]
    span: Span
    doc: str = ""


class Output(Struct, frozen=True):
    """``type``, or ``name: type`` for one of several outputs of a net."""

    name: Name | None
    type: TypeExpr
    span: Span


class NetDecl(Struct, frozen=True):
    """``net Name(x: type) -> type with … = block``. A net with several outputs has them in parentheses."""

    name: Name
    inputs: tuple[Parameter, ...]
    outputs: tuple[Output, ...]
    options: tuple[Call, ...]
    body: Expr
    span: Span
    doc: str = ""


class Setting(Struct, frozen=True):
    """``key = value`` in a train block."""

    key: Name
    value: Expr
    span: Span


class TrainDecl(Struct, frozen=True):
    """``train { … }``"""

    settings: tuple[Setting, ...]
    span: Span
    doc: str = ""


class Extern(Struct, frozen=True):
    """``extern layer name(sig) from "pkg.module:Class"``"""

    name: Name
    params: tuple[Parameter, ...]
    target: Literal
    is_join: bool
    span: Span
    doc: str = ""


class BrokenDecl(Struct, frozen=True):
    """A declaration with a syntax error. Its name, if one was read, counts as declared."""

    name: str | None
    span: Span


Decl = Import | FromImport | Param | Let | LayerDecl | RuleDecl | NetDecl | TrainDecl | Extern | BrokenDecl


class Comment(Struct, frozen=True):
    """``# …``, including the ``#``."""

    text: str
    span: Span


class File(Struct, frozen=True):
    """A parsed file. ``edition`` is None if the file does not name one, or has syntax errors."""

    source: Source
    edition: Literal | None
    decls: tuple[Decl, ...]
    comments: tuple[Comment, ...] = field(default=())
