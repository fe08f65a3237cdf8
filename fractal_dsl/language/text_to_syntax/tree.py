"""Lark's tree to ours. Children are what Lark gives: tokens, and the results of other methods."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Lark leaves some parameters untyped.

from __future__ import annotations

from typing import Any, TypeVar

from lark import Token, v_args
from lark.tree import Meta
from lark.visitors import Transformer_NonRecursive

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span

_Class = TypeVar("_Class", bound=type)


def _with_meta(cls: _Class) -> _Class:
    """Methods take the position of a node, then its children."""
    v_args(meta=True)(cls)
    return cls


def span_of(token: Token) -> Span:
    """The span of a token."""
    assert token.start_pos is not None and token.end_pos is not None
    return Span(token.start_pos, token.end_pos)


def _where(meta: Meta) -> Span:
    return Span(meta.start_pos, meta.end_pos) if not meta.empty else Span(0, 0)


def _name(token: Token) -> s.Name:
    return s.Name(str(token), span_of(token))


def _text(token: Token) -> s.Literal:
    return s.Literal(str(token)[1:-1], span_of(token))


def _number(token: Token) -> s.Literal:
    digits = str(token).replace("_", "")
    # CPython refuses to convert very long digit strings; the checker reports the size limit
    return s.Literal(int(digits) if len(digits) < 4000 else 10**4000, span_of(token))


@_with_meta
class TreeBuilder(Transformer_NonRecursive[Token, Any]):
    """Builds our tree from Lark's. Methods are named after the grammar's rules."""

    def start(self, meta: Meta, c: list[Any]) -> tuple[s.Literal | None, list[s.Decl]]:
        edition = c[0] if c and isinstance(c[0], s.Literal) else None
        return edition, [d for d in c if not isinstance(d, s.Literal)]

    def edition(self, meta: Meta, c: list[Token]) -> s.Literal:
        return _number(c[1])

    # declarations

    def import_(self, meta: Meta, c: list[Token]) -> s.Import:
        return s.Import(_text(c[1]), _name(c[3]), _where(meta))

    def imported(self, meta: Meta, c: list[Token]) -> tuple[s.Name, s.Name]:
        return _name(c[0]), _name(c[-1])

    def from_import(self, meta: Meta, c: list[Any]) -> s.FromImport:
        return s.FromImport(_text(c[1]), tuple(x for x in c if isinstance(x, tuple)), _where(meta))

    def param(self, meta: Meta, c: list[Any]) -> s.Param:
        default = c[c.index("=") + 1] if "=" in c else None
        domain = c[-1] if isinstance(c[-1], s.RangeDomain | s.SetDomain) else None
        return s.Param(_name(c[1]), c[3], default, domain, _where(meta))

    def let(self, meta: Meta, c: list[Any]) -> s.Let:
        return s.Let(_name(c[1]), c[-1], c[0].type == "SHARED", _where(meta))

    shared = let

    def layer(self, meta: Meta, c: list[Any]) -> s.LayerDecl:
        params = c[2] if isinstance(c[2], tuple) else ()
        return s.LayerDecl(_name(c[1]), params, c[-1], c[0].type == "JOIN", _where(meta))

    join = layer

    def rule(self, meta: Meta, c: list[Any]) -> s.RuleDecl:
        params = c[2] if isinstance(c[2], tuple) else ()
        joins = [i for i, x in enumerate(c) if isinstance(x, Token) and x.type == "JOIN"]
        cases = tuple(x for x in c if isinstance(x, s.Case))
        return s.RuleDecl(_name(c[1]), params, c[joins[0] + 1] if joins else None, cases, _where(meta))

    def net(self, meta: Meta, c: list[Any]) -> s.NetDecl:
        inputs = tuple(x for x in c if isinstance(x, s.Parameter))
        outputs, *options = [x for x in c if isinstance(x, tuple)]
        return s.NetDecl(_name(c[1]), inputs, outputs, options[0] if options else (), c[-1], _where(meta))

    def input(self, meta: Meta, c: list[Any]) -> s.Parameter:
        return s.Parameter(_name(c[0]), c[2], None, _where(meta))

    def result(self, meta: Meta, c: list[Any]) -> tuple[s.Output, ...]:
        ends = [x for x in c if isinstance(x, s.TypeExpr | s.Output)]
        return tuple([s.Output(None, x, x.span) if isinstance(x, s.TypeExpr) else x for x in ends])

    def output(self, meta: Meta, c: list[Any]) -> s.Output:
        return s.Output(_name(c[0]), c[2], _where(meta))

    def train(self, meta: Meta, c: list[Any]) -> s.TrainDecl:
        return s.TrainDecl(tuple(x for x in c if isinstance(x, s.Setting)), _where(meta))

    def extern(self, meta: Meta, c: list[Any]) -> s.Extern:
        params = c[3] if isinstance(c[3], tuple) else ()
        return s.Extern(_name(c[2]), params, _text(c[-1]), c[1].type == "JOIN", _where(meta))

    def signature(self, meta: Meta, c: list[Any]) -> tuple[s.Parameter, ...]:
        return tuple(x for x in c if isinstance(x, s.Parameter))

    def parameter(self, meta: Meta, c: list[Any]) -> s.Parameter:
        return s.Parameter(_name(c[0]), c[2], c[4] if len(c) > 4 else None, _where(meta))

    def options(self, meta: Meta, c: list[Any]) -> tuple[s.Call, ...]:
        return tuple(x for x in c if isinstance(x, s.Call))

    def option(self, meta: Meta, c: list[Any]) -> s.Call:
        args = c[2] if isinstance(c[2], tuple) else ()
        return s.Call(_name(c[0]), args, _where(meta))

    def setting(self, meta: Meta, c: list[Any]) -> s.Setting:
        return s.Setting(_name(c[0]), c[2], _where(meta))

    def case(self, meta: Meta, c: list[Any]) -> s.Case:
        rule, (var, offset), head = c[0]
        guard = c[2] if isinstance(c[1], Token) and c[1].type == "WHEN" else None
        return s.Case(rule, var, offset, guard, c[-1], _where(meta), head)

    def case_head(self, meta: Meta, c: list[Any]) -> tuple[s.Name, tuple[s.Name | None, int], Span]:
        return _name(c[0]), c[2], _where(meta)

    def fixed_level(self, meta: Meta, c: list[Token]) -> tuple[None, int]:
        value = _number(c[0]).value
        assert isinstance(value, int)
        return None, value

    def free_level(self, meta: Meta, c: list[Token]) -> tuple[s.Name, int]:
        value = _number(c[2]).value if len(c) > 1 else 0
        assert isinstance(value, int)
        return _name(c[0]), value

    # types and domains

    def named_type(self, meta: Meta, c: list[Token]) -> s.TypeExpr:
        return s.TypeExpr(str(c[0]), _where(meta))

    def list_type(self, meta: Meta, c: list[Any]) -> s.TypeExpr:
        return s.TypeExpr("list", _where(meta), item=c[1])

    def tensor_type(self, meta: Meta, c: list[Any]) -> s.TypeExpr:
        return s.TypeExpr(str(c[0]), _where(meta), dims=tuple(x for x in c[1:] if not isinstance(x, Token)))

    def range_domain(self, meta: Meta, c: list[Any]) -> s.RangeDomain:
        return s.RangeDomain(c[0], c[2], _where(meta))

    def set_domain(self, meta: Meta, c: list[Any]) -> s.SetDomain:
        return s.SetDomain(tuple(x for x in c if not isinstance(x, Token)), _where(meta))

    # bodies and expressions

    def where(self, meta: Meta, c: list[Any]) -> s.Where:
        return s.Where(c[0], tuple(x for x in c if isinstance(x, s.Binding)), _where(meta))

    def outputs(self, meta: Meta, c: list[Any]) -> s.Outputs:
        return s.Outputs(tuple(x for x in c if not isinstance(x, Token)), _where(meta))

    def value(self, meta: Meta, c: list[Any]) -> s.Binding:
        return s.Binding(_name(c[0]), c[2], _where(meta))

    def comparator(self, meta: Meta, c: list[Token]) -> Token:
        return c[0]

    def binary(self, meta: Meta, c: list[Any]) -> s.Binary:
        return s.Binary(str(c[1]), c[0], c[2], _where(meta))

    def unary(self, meta: Meta, c: list[Any]) -> s.Unary:
        return s.Unary(str(c[0]), c[1], _where(meta))

    def columns(self, meta: Meta, c: list[Any]) -> s.Columns:
        return s.Columns(tuple(c[::2]), _where(meta))

    def flow(self, meta: Meta, c: list[Any]) -> s.Flow:
        return s.Flow(tuple(c[::2]), _where(meta))

    def annotation(self, meta: Meta, c: list[Any]) -> s.Annotated:
        args = next((x for x in c[3:] if isinstance(x, tuple)), ())
        return s.Annotated(c[0], str(c[2]), args, _where(meta))

    def call(self, meta: Meta, c: list[Any]) -> s.Call:
        return s.Call(c[0], c[2] if isinstance(c[2], tuple) else (), _where(meta))

    def index(self, meta: Meta, c: list[Any]) -> s.Index:
        return s.Index(c[0], c[2], _where(meta))

    def attribute(self, meta: Meta, c: list[Any]) -> s.Attribute:
        return s.Attribute(c[0], str(c[2]), _where(meta))

    def name(self, meta: Meta, c: list[Token]) -> s.Name:
        return _name(c[0])

    def integer(self, meta: Meta, c: list[Token]) -> s.Literal:
        return _number(c[0])

    def decimal(self, meta: Meta, c: list[Token]) -> s.Literal:
        return s.Literal(float(c[0].replace("_", "")), _where(meta))

    def prob(self, meta: Meta, c: list[Token]) -> s.Literal:
        # division is correctly rounded: 15% is the float nearest to 0.15
        return s.Literal(float(c[0][:-1].replace("_", "")) / 100, _where(meta), prob=True)

    def string(self, meta: Meta, c: list[Token]) -> s.Literal:
        return _text(c[0])

    def true(self, meta: Meta, c: list[Token]) -> s.Literal:
        return s.Literal(True, _where(meta))

    def false(self, meta: Meta, c: list[Token]) -> s.Literal:
        return s.Literal(False, _where(meta))

    def parens(self, meta: Meta, c: list[Any]) -> s.Expr:
        return c[1]

    def items(self, meta: Meta, c: list[Any]) -> s.Items:
        return s.Items(tuple(x for x in c if not isinstance(x, Token)), _where(meta))

    def bracketed(self, meta: Meta, c: list[Any]) -> s.Comprehension:
        return c[1].value

    def args(self, meta: Meta, c: list[Any]) -> tuple[s.Arg, ...]:
        return tuple(x for x in c if isinstance(x, s.Arg))

    def arg(self, meta: Meta, c: list[Any]) -> s.Arg:
        if isinstance(c[0], s.Arg):
            return c[0]
        if isinstance(c[0], Token):
            return s.Arg(str(c[0]), c[2], _where(meta))
        return s.Arg(None, c[0], _where(meta))

    def comprehension(self, meta: Meta, c: list[Any]) -> s.Arg:
        targets = tuple(_name(t) for t in c[1:-1] if isinstance(t, Token) and t.type == "NAME")
        return s.Arg(None, s.Comprehension(c[0], targets, c[-1], _where(meta)), _where(meta))


setattr(TreeBuilder, "import", TreeBuilder.import_)
