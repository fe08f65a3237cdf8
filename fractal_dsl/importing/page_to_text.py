"""A page as text: written with all its parentheses, parsed, and printed by the formatter."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.importing.page import Decl, Layer, Page, Param, Rule, default_of, required
from fractal_dsl.importing.plain import OUTPUTS
from fractal_dsl.importing.terms import (
    Arg,
    Arith,
    Bundle,
    Call,
    Chain,
    Level,
    Loop,
    Merge,
    Power,
    Term,
    Value,
    Var,
    Where,
)
from fractal_dsl.language.source import Source
from fractal_dsl.language.syntax_to_text import syntax_to_text
from fractal_dsl.ops import JOINS, LAYERS
from fractal_dsl.pipeline import parse


def page_to_text(page: Page) -> str:
    """The page in the canonical style."""
    writer = _Writer(page)
    inputs = ", ".join(f"{name}: {type_}" for name, type_ in page.inputs)
    outputs = ", ".join(f"{name}: {type_}" if name else str(type_) for name, type_ in page.outputs)
    outputs = f"({outputs})" if len(page.outputs) > 1 else outputs
    net = f"net {page.net}({inputs}) -> {outputs} = {writer.chain(page.body)}"
    comment = [f"# {line}" for line in page.comment.splitlines()]
    parts = ["\n".join(["frac 1", *comment]), *map(writer.decl, page.decls), net]
    return syntax_to_text(parse(Source("<imported>", "\n\n".join(parts) + "\n")))


class _Writer:
    def __init__(self, page: Page) -> None:
        self.page = page

    def decl(self, decl: Decl) -> str:
        """A declaration. The formatter drops the parentheses that are not needed."""
        match decl:
            case Layer():
                return f"layer {decl.name}{self.signature(decl.params)} = {self.chain(decl.body)}"
            case Rule():
                head = f"rule {decl.name}{self.signature(decl.params)} join {decl.join}"
                recurrence = " | ".join(self.chain(c, rule=decl.name) for c in decl.columns)
                return f"{head} {{ {decl.name}[1] = {self.chain(decl.base)}\n{decl.name}[n+1] = {recurrence} }}"
            case _:
                return f"shared {decl.name} = {self.chain(decl.body)}"

    def signature(self, params: Sequence[Param]) -> str:
        """Parameters in parentheses."""
        written = [
            f"{p.name}: {p.type}" + (f" = {self.value(p.default, p.type)}" if p.default is not None else "")
            for p in params
        ]
        return f"({', '.join(written)})" if written else ""

    def chain(self, chain: Chain, rule: str = "") -> str:
        """Steps in series."""
        return " >> ".join(self.term(step, rule) for step in chain.steps) or "id"

    def term(self, term: Term, rule: str = "") -> str:
        """A step of a chain."""
        match term:
            case Call():
                return f"{term.name}[n]" if term.name == rule else self.call(term)
            case Merge():
                branches = [self.chain(b, rule) for b in term.branches]
                if term.join == OUTPUTS:
                    return f"({', '.join(branches)})"
                given = [(n, v) for n, v in term.args if v != self._join_default(term.join, n)]
                return f"{term.join}({', '.join([*branches, *[f'{n}={self.value(v)}' for n, v in given]])})"
            case Bundle():
                return "(" + " | ".join(self.chain(c, rule) for c in term.columns) + ")"
            case Power():
                return f"({self.chain(term.base, rule)}) ** {self.value(term.times)}"
            case Loop():
                lists = [f"[{', '.join(self.value(v) for v in values)}]" for values in term.lists]
                over = lists[0] if len(lists) == 1 else f"zip({', '.join(lists)})"
                return f"seq({self.chain(term.body, rule)} for {', '.join(term.names)} in {over})"
            case Level():
                given = ", ".join(self.value(v) for _, v in term.args)
                each = f".each({self.chain(term.each)})" if term.each.steps else ""
                return f"{term.rule}[{term.level}]" + (f"({given})" if given else "") + each
            case Chain():
                return f"({self.chain(term, rule)})"
            case Value():
                return term.name
            case Where():
                pairs = zip(term.names, term.values, strict=True)
                bound = ", ".join(f"{name} = {self.chain(value)}" for name, value in pairs)
                return f"{self.chain(term.body)} where {bound}"

    def call(self, call: Call) -> str:
        """A call with the arguments that differ from their defaults."""
        params = self.page.params(call.name)
        positional: list[str] = []
        named: list[str] = []
        if params is not None:
            known = {p.name: p for p in params}
            for name, value in call.args:
                text = self.value(value, known[name].type)
                if known[name].default is None:
                    positional.append(text)
                elif value != known[name].default:
                    named.append(f"{name}={text}")
        elif call.name in LAYERS:
            kinds = {p.name: p.kind for p in LAYERS[call.name].params}
            for name, value in call.args:
                text = self.value(value, kinds[name])
                if required(call.name, name):
                    positional.append(text)
                elif value != default_of(call.name, name, call):
                    alone = call.name.startswith("dropout")
                    (positional if alone else named).append(text if alone else f"{name}={text}")
        given = ", ".join(positional + named)
        return call.name + (f"({given})" if given else "")

    def value(self, value: Arg, kind: str = "") -> str:
        """An argument."""
        match value:
            case Var():
                return value.name
            case Arith():
                return f"({self.value(value.left)} {value.op} {self.value(value.right)})"
            case bool():
                return "true" if value else "false"
            case str():
                return f'"{value}"'
            case tuple():
                return f"[{', '.join(self.value(v) for v in value)}]"
            case float() if kind == "prob":
                percent = round(value * 100, 9)
                return f"{percent:g}%" if percent / 100 == value else repr(value)
            case _:
                return repr(value)

    def _join_default(self, join: str, name: str) -> Arg:
        default = next(p.default for p in JOINS[join].params if p.name == name)
        assert default is None or isinstance(default, int | float | str | tuple)
        return default
