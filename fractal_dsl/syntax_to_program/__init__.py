"""Syntax tree to programs: names, kinds, parameters, types. Collects every independent error.

Each declaration is evaluated by itself with unknown parameters, which finds what is wrong whatever the
arguments; then each net is evaluated with the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fractal_dsl import program as p
from fractal_dsl import syntax as s
from fractal_dsl.diagnostics import Diagnostic, Report, nearest, suggestion
from fractal_dsl.ops import Tensor
from fractal_dsl.source import Source, Span
from fractal_dsl.syntax_to_program import calls
from fractal_dsl.syntax_to_program.evaluate import Evaluator, Scope
from fractal_dsl.syntax_to_program.values import (
    ANY,
    LayerFn,
    RuleContext,
    RuleFn,
    Type,
    Unknown,
    Value,
    fits,
    show,
    type_of,
)

INITS = ("default", "xavier", "xavier_normal", "kaiming", "kaiming_normal", "orthogonal")
_LATER = {s.Import: "import", s.FromImport: "from … import", s.Extern: "extern"}


ParseValue = Callable[[Source, Report], s.Expr]


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
    if type_of(value) not in ("int", "float", "prob", "bool", "str") and not isinstance(value, tuple):
        report.error("E0301", expr.span, f"expected a plain value, found {type_of(value)}")
    return _plain(value)


class _Elaborator:
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
        self.train: dict[str, Any] = {}
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
            if type(decl) in _LATER:
                self.report.error("E0106", decl.span, f"`{_LATER[type(decl)]}` is not in this version yet")
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

    def _let(self, decl: s.Let) -> Value:
        if decl.shared:
            return self.ev.error("E0106", decl.span, "`shared` is not in this version yet")
        value = self.ev.eval(decl.value, Scope())
        return self.ev.block(value, decl.value.span) if type_of(value) == "block" else value

    # --- parameters

    def _param(self, decl: s.Param) -> Value:
        name, type = decl.name.id, calls.type_from(self.ev, decl.type)
        if type.name in ("block", "join"):
            self.ev.error("E0301", decl.type.span, "a parameter of a file is a number, text, or list")
            return ANY
        default: Value = ANY
        if decl.default is not None:
            default = calls.checked(
                self.ev, self.ev.eval(decl.default, Scope()), type, decl.default.span, f"`{name}`"
            )
            self._in_domain(decl, default, self.file.source, decl.default.span)
        if name in self.overrides:
            return self._override(decl, type, self.overrides[name])
        if decl.default is None:
            help = f"give it with `-p {name}=…`, or a default: `param {name}: {type} = …`"
            self.ev.error("E0205", decl.name.span, f"parameter `{name}` has no value", help=help)
        return default

    def _override(self, decl: s.Param, type: Type, text: str) -> Value:
        name = decl.name.id
        source = Source(f"-p {name}", text)
        report = Report(source)
        ev = Evaluator(report, lambda name, span: None, (), 0)
        is_text = type.name == "str" and not text.strip().startswith('"')
        span = Span(0, len(text))
        value = text if is_text else ev.eval(self.parse_value(source, report), Scope())
        if report.found and report.found[0].code == "E0201":
            report.found.clear()
            message = f"`{name}` is {type}, found `{text}`"
            report.error("E0301", span, message, help=f"write a literal, such as `-p {name}={_example(type)}`")
            value = ANY
        value = calls.checked(ev, value, type, span, f"`{name}`")
        self.report.found += report.found
        return value if self._in_domain(decl, value, source, span) else ANY

    def _in_domain(self, decl: s.Param, value: Value, source: Source, span: Span) -> bool:
        """Whether a value lies in its parameter's domain; if not, that is reported."""
        if decl.domain is None or isinstance(value, Unknown):
            return True
        values = value if isinstance(value, tuple) else (value,)
        if isinstance(decl.domain, s.RangeDomain):
            low, high = (self.ev.eval(e, Scope()) for e in (decl.domain.low, decl.domain.high))
            if any(type_of(v) not in ("int", "float", "prob") for v in (low, high)):
                self.ev.error("E0301", decl.domain.span, "a range has two numbers, such as `1..8`")
                return True
            if isinstance(low, Unknown) or isinstance(high, Unknown):
                return True
            inside = all(isinstance(v, int | float) and low <= v <= high for v in values)
            domain = f"{show(low)}..{show(high)}"
        else:
            allowed = [self.ev.eval(e, Scope()) for e in decl.domain.values]
            if any(isinstance(v, Unknown) for v in allowed):
                return True
            inside = all(v in allowed for v in values)
            domain = "{" + ", ".join(map(show, allowed)) + "}"
        if not inside:
            message = f"`{decl.name.id}` is in {domain}, found {show(value)}"
            self.report.found.append(Diagnostic("E0302", message, source, span))
        return inside

    # --- the file

    def programs(self) -> list[p.Program]:
        for name in self.overrides:
            if not isinstance(self.decls.get(name), s.Param):
                known = [n for n, d in self.decls.items() if isinstance(d, s.Param)]
                near = nearest(name, known)
                help = f"did you mean `{near}`?" if near else f"the parameters are {', '.join(known) or '(none)'}"
                source = Source("-p", f"{name}={self.overrides[name]}")
                message = f"there is no parameter `{name}`"
                self.report.found.append(Diagnostic("E0203", message, source, Span(0, len(name)), help=help))
        for decl in self.file.decls:
            match decl:
                case s.Param() | s.Let():
                    self.resolve(decl.name.id, decl.name.span)
                case s.LayerDecl():
                    self._check_layer(decl)
                case s.RuleDecl():
                    self._check_rule(decl)
                case s.TrainDecl():
                    self.train = self._train(decl)
                case _:
                    pass
        nets = [d for d in self.file.decls if isinstance(d, s.NetDecl)]
        return [q for q in map(self._net, nets) if q is not None]

    def _unknowns(self, params: tuple[s.Parameter, ...]) -> dict[str, Value]:
        """Parameters as unknowns of their types; their defaults are checked by the way."""
        result: dict[str, Value] = {}
        for param in params:
            if param.name.id in result:
                self.report.error("E0202", param.name.span, f"there are two parameters `{param.name.id}`")
            type = calls.type_from(self.ev, param.type)
            if param.default is not None:
                value = self.ev.eval(param.default, Scope(dict(result)))
                calls.checked(self.ev, value, type, param.default.span, f"`{param.name.id}`")
            result[param.name.id] = Unknown(type)
        return result

    def _check_layer(self, decl: s.LayerDecl) -> None:
        with self.ev.within(decl.name.id):
            scope = Scope(self._unknowns(decl.params))
            self.ev.active.append((decl, None))
            value = self.ev.eval(decl.body, scope)
            if decl.is_join:
                calls.as_join(self.ev, value, decl.body.span)
            else:
                self.ev.block(value, decl.body.span)
            self.ev.active.pop()

    def _check_rule(self, decl: s.RuleDecl) -> None:
        name = decl.name.id
        with self.ev.within(name):
            args = self._unknowns(decl.params)
            if decl.join is not None:
                calls.as_join(self.ev, self.ev.eval(decl.join, Scope(args)), decl.join.span)
            seen: set[tuple[bool, int]] = set()
            for case in decl.cases:
                if case.rule.id != name:
                    help = f"did you mean `{name}`?"
                    self.ev.error("E0201", case.rule.span, f"a case of `{case.rule.id}` in rule `{name}`", help=help)
                if case.guard is None:
                    if (case.var is None, case.offset) in seen:
                        self.ev.error("E0405", case.head, "an earlier case takes these levels already")
                    seen.add((case.var is None, case.offset))
                self._check_case(decl, case, args)
            if not decl.cases or not calls.has_base(decl):
                help = f"add a case that does not mention `{name}`, such as `{name}[1] = …`"
                self.ev.error("E0403", decl.name.span, f"rule `{name}` has no base case", help=help)

    def _check_case(self, decl: s.RuleDecl, case: s.Case, args: dict[str, Value]) -> None:
        names = dict(args)
        if case.var is not None:
            names[case.var.id] = Unknown(Type("int"), -case.offset)
        scope = Scope(names, None, RuleContext(decl, args, Unknown(Type("int"), 0)))
        if case.guard is not None:
            guard = self.ev.eval(case.guard, scope)
            if fits(guard, Type("bool")) is None:
                self.ev.error("E0301", case.guard.span, f"a guard is true or false, found {type_of(guard)}")
        self.ev.block(self.ev.eval(case.body, scope), case.body.span)

    # --- nets

    def _net(self, decl: s.NetDecl) -> p.Program | None:
        name = decl.name.id
        with self.ev.within(f"net {name}"):
            into, out = self._tensor(decl.input_type), self._tensor(decl.output_type)
            drop_path, init = self._options(decl)
            body = self.ev.block(self.ev.eval(decl.body, Scope({decl.input.id: Unknown(Type("tensor"))})), decl.body.span)
        if into is None or out is None:
            return None
        params = {n: self.values[n] for n, d in self.decls.items() if isinstance(d, s.Param) and n in self.values}
        return p.Program(
            self.file.source,
            name,
            decl.input.id,
            into,
            out,
            body,
            decl.body.span,
            decl.output_type.span,
            drop_path,
            init,
            params,
            self.train,
        )

    def _tensor(self, expr: s.TypeExpr) -> Tensor | None:
        if expr.dims is None or expr.name not in ("f32", "i64"):
            known = ("f32", "i64")
            help = suggestion(expr.name, known) or "a net maps tensors, such as `f32[3, 32, 32]` or `i64[256]`"
            self.ev.error("E0301", expr.span, f"expected a tensor type, found `{expr.name}`", help=help)
            return None
        dims: list[int] = []
        for e in expr.dims:
            value = self.ev.eval(e, Scope())
            if isinstance(value, Unknown) and value is ANY:
                return None
            if type_of(value) != "int":
                self.ev.error("E0301", e.span, f"a size is a whole number, found {type_of(value)}")
                return None
            if value < 1:
                self.ev.error("E0302", e.span, f"a size is at least 1, found {value}")
                return None
            dims.append(value)
        return Tensor(expr.name, tuple(dims))

    def _options(self, decl: s.NetDecl) -> tuple[p.DropPath | None, str]:
        drop_path, init, seen = None, "default", set[str]()
        for option in decl.options:
            assert isinstance(option.func, s.Name)
            name = option.func.id
            if name in seen:
                self.ev.error("E0204", option.span, f"option `{name}` is given twice")
            seen.add(name)
            match name:
                case "drop_path":
                    drop_path = self._drop_path(option)
                case "init":
                    init = self._init(option)
                case _:
                    known = ("drop_path", "init")
                    help = suggestion(name, known) or "the options are `drop_path(…)` and `init(…)`"
                    self.ev.error("E0702", option.func.span, f"a net has no option `{name}`", help=help)
        return drop_path, init

    def _drop_path(self, option: s.Call) -> p.DropPath | None:
        known = ("local", "global", "columns")
        values: dict[str, Any] = {}
        for i, arg in enumerate(option.args):
            name = arg.name or known[min(i, 2)]
            if name not in known:
                help = suggestion(name, known) or "it has local, global and columns"
                self.ev.error("E0203", arg.span, f"`drop_path` has no parameter `{name}`", help=help)
            elif name in values:
                self.ev.error("E0204", arg.span, f"`{name}` of `drop_path` is given twice")
            elif name == "columns":
                if not (isinstance(arg.value, s.Name) and arg.value.id == "all"):
                    self.ev.error("E0702", arg.value.span, "the value of `columns` is `all`")
                values[name] = True
            else:
                value = self.ev.eval(arg.value, Scope())
                values[name] = calls.checked(self.ev, value, Type("prob"), arg.span, f"`{name}` of `drop_path`")
        if values.get("columns") and values.get("global"):
            help = "`columns=all` trains every column on every mini-batch, which leaves nothing to draw"
            self.ev.error("E0702", option.span, "`drop_path` takes `global` or `columns=all`, not both", help=help)
        if any(isinstance(v, Unknown) for v in values.values()):
            return None
        return p.DropPath(
            float(values.get("local", 0.0)), float(values.get("global", 0.0)), values.get("columns", False)
        )

    def _init(self, option: s.Call) -> str:
        values = [self.ev.eval(a.value, Scope()) for a in option.args]
        match values:
            case [str() as name] if name in INITS and option.args[0].name in (None, "name"):
                return name
            case [str() as name]:
                help = suggestion(name, INITS) or f"it is one of {', '.join(map(show, INITS))}"
                self.ev.error("E0702", option.args[0].span, f'there is no initialisation "{name}"', help=help)
            case [Unknown()]:
                pass
            case _:
                self.ev.error("E0702", option.span, '`init` takes one text: `init("xavier")`')
        return "default"

    # --- the train block: plain data

    def _train(self, decl: s.TrainDecl) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for setting in decl.settings:
            if setting.key.id in result:
                self.ev.error("E0204", setting.key.span, f"`{setting.key.id}` is set twice")
            result[setting.key.id] = self._data(setting.value)
        return result

    def _data(self, expr: s.Expr) -> Any:
        """``sgd(lr=0.1)`` becomes ``{"name": "sgd", "lr": 0.1}``; everything else is a plain value."""
        match expr:
            case s.Call(func=s.Name(id=name)) if name not in self.decls and name not in ("len", "range"):
                result: dict[str, Any] = {"name": name}
                for arg in expr.args:
                    if arg.name is None or arg.name == "name":
                        self.ev.error("E0701", arg.span, f"settings of `{name}` are named: `{name}(lr=0.1)`")
                    else:
                        result[arg.name] = self._data(arg.value)
                return result
            case s.Items():
                return [self._data(e) for e in expr.items]
            case s.Name() if expr.id not in self.decls:
                help = f'a text stands in quotes: "{expr.id}"'
                self.ev.error("E0201", expr.span, f"unknown name `{expr.id}`", help=help)
                return None
            case _:
                value = self.ev.eval(expr, Scope())
                if type_of(value) in ("int", "float", "prob", "bool", "str") or isinstance(value, tuple):
                    return _plain(value)
                if not isinstance(value, Unknown):
                    self.ev.error("E0701", expr.span, f"a setting is plain data, found a {type_of(value)}")
                return None


def _plain(value: Value) -> Any:
    if isinstance(value, Unknown):
        return None
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return float(value) if isinstance(value, float) else value


def _names(decl: s.Decl) -> list[s.Name]:
    match decl:
        case s.FromImport():
            return [here for _, here in decl.names]
        case s.TrainDecl():
            return []
        case s.BrokenDecl():
            return [s.Name(decl.name, decl.span)] if decl.name else []
        case _:
            return [decl.name]


def _example(type: Type) -> str:
    examples = {"int": "3", "float": "0.5", "prob": "15%", "bool": "true", "str": '"text"'}
    return f"[{_example(type.item)}]" if type.item else examples.get(type.name, "3")
