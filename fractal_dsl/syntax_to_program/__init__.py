"""Syntax tree to programs: names, kinds, parameters, types. Collects every independent error.

Each declaration is evaluated by itself with unknown parameters, which finds what is wrong whatever the
arguments; then each net is evaluated with the real ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fractal_dsl import program as p
from fractal_dsl import syntax as s
from fractal_dsl.diagnostics import Diagnostic, Report, nearest
from fractal_dsl.source import Source, Span
from fractal_dsl.syntax_to_program import nets, params, train
from fractal_dsl.syntax_to_program.checks import check_layer, check_rule
from fractal_dsl.syntax_to_program.evaluate import Evaluator
from fractal_dsl.syntax_to_program.nets import INITS
from fractal_dsl.syntax_to_program.params import ParseValue
from fractal_dsl.syntax_to_program.scope import Scope
from fractal_dsl.syntax_to_program.values import ANY, LayerFn, RuleFn, Value, type_of

__all__ = ["INITS", "ParseValue", "literal_value", "syntax_to_programs"]


def syntax_to_programs(
    file: s.File, report: Report, overrides: Mapping[str, str], parse_value: ParseValue, max_layers: int
) -> list[p.Program]:
    """The programs of all nets of a file, in its order. Errors go to ``report``.

    ``overrides`` are the values of ``-p name=value``, texts that ``parse_value`` reads as expressions.
    """
    return _Elaborator(file, report, overrides, parse_value, max_layers).programs()


def literal_value(expr: s.Expr, report: Report) -> Any:
    """The plain value of an expression without names, as Python data. Errors go to ``report``."""
    value = Evaluator(report, lambda name, span: None, (), 0).eval(expr, Scope())
    if not train.is_plain(value):
        report.error("E0301", expr.span, f"expected a plain value, found {type_of(value)}")
    return train.plain(value)


class _Elaborator:
    """The declared names of a file and their values, each found when it is first asked for."""

    def __init__(
        self,
        file: s.File,
        report: Report,
        overrides: Mapping[str, str],
        parse_value: ParseValue,
        max_layers: int,
    ) -> None:
        self.file, self.report, self.overrides, self.parse_value = file, report, overrides, parse_value
        self.decls: dict[str, s.Decl] = {}
        self.values: dict[str, Value] = {}
        self.pending: list[str] = []
        self._declare()
        self.ev = Evaluator(report, self.resolve, list(self.decls), max_layers)

    # --- names

    def _declare(self) -> None:
        blocks = 0
        for decl in self.file.decls:
            if isinstance(decl, s.TrainDecl):
                blocks += 1
                if blocks > 1:
                    self.report.error("E0202", decl.span, "a file has one `train` block; this is the second")
                continue
            later = _later(decl)
            if later:
                self.report.error("E0106", decl.span, f"`{later}` is not in this version yet")
            for name in _names(decl):
                if name.id in self.decls:
                    self.report.error("E0202", name.span, f"`{name.id}` is declared already")
                else:
                    self.decls[name.id] = decl

    def resolve(self, name: str, span: Span) -> Value | None:
        """The value of a declared name; None if there is no such name."""
        if name in self.values:
            return self.values[name]
        match self.decls.get(name):
            case None:
                return None
            case s.LayerDecl() as decl:
                return LayerFn(decl)
            case s.RuleDecl() as decl:
                return RuleFn(decl)
            case s.NetDecl():
                help = "a part that several nets share is a `layer` or a `rule`"
                return self.ev.error("E0301", span, f"`{name}` is a net, and nets do not nest", help=help)
            case s.Param() | s.Let() as decl:
                return self._value(name, decl, span)
            case _:
                return ANY

    def _value(self, name: str, decl: s.Param | s.Let, span: Span) -> Value:
        if name in self.pending:
            path = " -> ".join([*self.pending, name])
            return self.ev.error("E0407", span, f"`{name}` needs itself: {path}")
        self.pending.append(name)
        trail, self.ev.trail = self.ev.trail, []
        try:
            self.values[name] = self._param(decl) if isinstance(decl, s.Param) else self._let(decl)
        finally:
            self.ev.trail = trail
            self.pending.pop()
        return self.values[name]

    def _param(self, decl: s.Param) -> Value:
        override = self.overrides.get(decl.name.id)
        return params.param(self.ev, decl, self.file.source, override, self.parse_value)

    def _let(self, decl: s.Let) -> Value:
        if decl.shared:
            return self.ev.error("E0106", decl.span, "`shared` is not in this version yet")
        value = self.ev.eval(decl.value, Scope())
        return self.ev.block(value, decl.value.span) if type_of(value) == "block" else value

    # --- the file

    def programs(self) -> list[p.Program]:
        """Every declaration by itself, then every net."""
        self._check_overrides()
        settings: dict[str, Any] = {}
        for decl in self.file.decls:
            match decl:
                case s.Param() | s.Let():
                    self.resolve(decl.name.id, decl.name.span)
                case s.LayerDecl():
                    check_layer(self.ev, decl)
                case s.RuleDecl():
                    check_rule(self.ev, decl)
                case s.TrainDecl():
                    settings = train.settings(self.ev, decl, self.decls)
                case _:
                    pass
        given = {n: self.values[n] for n, d in self.decls.items() if isinstance(d, s.Param)}
        wanted = [d for d in self.file.decls if isinstance(d, s.NetDecl)]
        made = [nets.net(self.ev, decl, self.file.source, given, settings) for decl in wanted]
        return [program for program in made if program is not None]

    def _check_overrides(self) -> None:
        for name, text in self.overrides.items():
            if not isinstance(self.decls.get(name), s.Param):
                known = [n for n, d in self.decls.items() if isinstance(d, s.Param)]
                near = nearest(name, known)
                help = f"did you mean `{near}`?" if near else f"the parameters are {', '.join(known) or '(none)'}"
                source = Source("-p", f"{name}={text}")
                message = f"there is no parameter `{name}`"
                self.report.found.append(Diagnostic("E0203", message, source, Span(0, len(name)), help=help))


def _later(decl: s.Decl) -> str | None:
    """How the language writes a declaration that this version does not have yet."""
    match decl:
        case s.Import():
            return "import"
        case s.FromImport():
            return "from … import"
        case s.Extern():
            return "extern"
        case _:
            return None


def _names(decl: s.Decl) -> list[s.Name]:
    """The names that a declaration declares."""
    match decl:
        case s.FromImport():
            return [here for _, here in decl.names]
        case s.TrainDecl():
            return []
        case s.BrokenDecl():
            return [s.Name(decl.name, decl.span)] if decl.name else []
        case _:
            return [decl.name]
