"""The uses of names in one file, with what each refers to.

A name refers to a local name of its declaration, else to a declaration of its file, else to something built in: the
order in which the evaluator looks it up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.language.walk import SyntaxNode, parts
from fractal_dsl.services.symbols import Declared, Native, Symbol, Use, native

VisibleNames = Mapping[str, Symbol]


def uses(declared: Declared, file: s.File) -> Iterator[Use]:
    """The uses of names in a file, declarations included."""
    return _Reader(declared, file).uses()


class _Reader:
    """Reads the uses of names in one file."""

    def __init__(self, declared: Declared, file: s.File) -> None:
        self.declared, self.file, self.source = declared, file, file.source
        self.top = declared.top(file)

    def uses(self) -> Iterator[Use]:
        for decl in self.file.decls:
            yield from self._decl(decl)

    def _decl(self, decl: s.Decl) -> Iterator[Use]:
        match decl:
            case s.FromImport():
                yield from self._from_import(decl)
            case s.LayerDecl() | s.Extern() | s.RuleDecl():
                yield self._declaration(decl.name)
                yield from self._signed(decl)
            case s.NetDecl():
                yield self._declaration(decl.name)
                yield from self._net(decl)
            case s.TrainDecl():
                for setting in decl.settings:
                    yield Use(setting.key.span, Native("setting", setting.key.id))
                    yield from self._setting(setting.value, setting.key.id)
            case s.BrokenDecl():
                pass
            case s.Import() | s.Param() | s.Let():
                yield self._declaration(decl.name)
                for part in parts(decl):
                    if part is not decl.name:
                        yield from self._expr(part, {})

    def _declaration(self, name: s.Name) -> Use:
        symbol = self.top[name.id]
        if symbol.span != name.span:  # declared twice: the first counts
            symbol = Symbol(symbol.kind, name.id, self.source, name.span, symbol.node)
        return Use(name.span, symbol)

    def _from_import(self, decl: s.FromImport) -> Iterator[Use]:
        for there, here in decl.names:
            target = self.declared.imported(decl, there.id)
            if target is not None:
                yield Use(there.span, target)
            if there.span != here.span or target is None:
                yield Use(here.span, self.top[here.id])

    def _signed(self, decl: s.LayerDecl | s.Extern | s.RuleDecl) -> Iterator[Use]:
        """The parameters of a layer, a join or a rule, and the body that sees them."""
        scope: dict[str, Symbol] = {}
        for param in decl.params:
            if param.default is not None:
                yield from self._expr(param.default, dict(scope))
            symbol = Symbol("parameter", param.name.id, self.source, param.name.span, param)
            scope[param.name.id] = symbol
            yield Use(param.name.span, symbol)
        match decl:
            case s.LayerDecl():
                yield from self._expr(decl.body, scope)
            case s.RuleDecl():
                if decl.join is not None:
                    yield from self._expr(decl.join, scope)
                for case in decl.cases:
                    yield from self._case(decl, case, scope)
            case s.Extern():
                pass

    def _case(self, decl: s.RuleDecl, case: s.Case, scope: VisibleNames) -> Iterator[Use]:
        if case.rule.id == decl.name.id:
            yield Use(case.rule.span, self.top[decl.name.id])
        inner = dict(scope)
        if case.var is not None:
            inner[case.var.id] = Symbol("level", case.var.id, self.source, case.var.span, case)
            yield Use(case.var.span, inner[case.var.id])
        if case.guard is not None:
            yield from self._expr(case.guard, inner)
        yield from self._expr(case.body, inner)

    def _net(self, decl: s.NetDecl) -> Iterator[Use]:
        scope: dict[str, Symbol] = {}
        for one in decl.inputs:
            symbol = Symbol("input", one.name.id, self.source, one.name.span, one)
            scope.setdefault(one.name.id, symbol)
            yield Use(one.name.span, symbol)
        for one in (*decl.inputs, *decl.outputs):
            yield from self._expr(one.type, {})
        for option in decl.options:
            assert isinstance(option.func, s.Name)
            yield Use(option.func.span, Native("option", option.func.id))
            for arg in option.args:
                yield from self._expr(arg.value, {})
        yield from self._expr(decl.body, scope)

    def _setting(self, expr: s.Expr, owner: str) -> Iterator[Use]:
        """The value of a setting, in which a name with settings is a variant unless the file declares it."""
        match expr:
            case s.Call(func=s.Name() as name) if name.id not in self.top:
                yield Use(name.span, Native("variant", name.id, owner))
                for arg in expr.args:
                    if arg.name is not None:
                        yield Use(_first(arg.span, arg.name), Native("setting", arg.name, name.id))
                    yield from self._setting(arg.value, owner)
            case s.Items():
                for item in expr.items:
                    yield from self._setting(item, owner)
            case _:
                yield from self._expr(expr, {})

    def _expr(self, node: SyntaxNode, scope: VisibleNames) -> Iterator[Use]:
        match node:
            case s.Name():
                of = self._lookup(node.id, scope)
                if of is not None:
                    yield Use(node.span, of)
            case s.Comprehension():
                yield from self._expr(node.iterable, scope)
                inner = {t.id: Symbol("item", t.id, self.source, t.span, node) for t in node.targets}
                yield from [Use(symbol.span, symbol) for symbol in inner.values()]
                yield from self._expr(node.body, {**scope, **inner})
            case s.Where():
                inner = {v.name.id: Symbol("value", v.name.id, self.source, v.name.span, v) for v in node.values}
                yield from self._expr(node.body, {**scope, **inner})
                for value in node.values:
                    yield Use(value.name.span, Symbol("value", value.name.id, self.source, value.name.span, value))
                    yield from self._expr(value.value, {**scope, **inner})
            case s.Attribute():
                yield from self._expr(node.base, scope)
                member = self._member(node)
                if member is not None:
                    yield Use(_last(node.span, node.name), member)
            case s.Annotated():
                yield from self._expr(node.base, scope)
                yield from self._annotation(node)
                for arg in node.args:
                    yield from self._expr(arg.value, scope)
            case s.Call():
                yield from self._expr(node.func, scope)
                callee = self.callee(node.func, scope)
                for arg in node.args:
                    yield from self._named(arg, callee)
                    yield from self._expr(arg.value, scope)
            case _:
                for part in parts(node):
                    yield from self._expr(part, scope)

    def _lookup(self, name: str, scope: VisibleNames) -> Symbol | Native | None:
        if name in scope:
            return scope[name]
        if name in self.top:
            return self.top[name]
        return native(name)

    def _member(self, node: s.Attribute) -> Symbol | None:
        """What ``m.name`` refers to, where ``m`` is an imported file."""
        match node.base:
            case s.Name(id=name) if name in self.top:
                base = self.top[name]
            case s.Attribute() as inner:
                base = self._member(inner)
            case _:
                return None
        if base is None or not isinstance(base.node, s.Import):
            return None
        return self.declared.imported(base.node, node.name)

    def callee(self, func: s.Expr, scope: VisibleNames) -> Symbol | Native | None:
        """The callee of a call."""
        match func:
            case s.Name():
                return self._lookup(func.id, scope)
            case s.Index():
                return self.callee(func.base, scope)
            case s.Attribute():
                return self._member(func)
            case _:
                return None

    def _named(self, arg: s.Arg, callee: Symbol | Native | None) -> Iterator[Use]:
        """The name of an argument, as a use of the parameter."""
        if arg.name is None:
            return
        span = _first(arg.span, arg.name)
        match callee:
            case Symbol():
                owner = callee.declared
                param = next((q for q in owner.params if q.name.id == arg.name), None)
                if param is not None:
                    yield Use(span, Symbol("parameter", arg.name, owner.source, param.name.span, param))
            case Native(kind="layer" | "join"):
                yield Use(span, Native("parameter", arg.name, callee.name))
            case _:
                pass

    def _annotation(self, node: s.Annotated) -> Iterator[Use]:
        behind = self.source.slice(Span(node.base.span.end, node.span.end))
        at = behind.find(node.name, behind.find("@") + 1)
        if at >= 0:
            start = node.base.span.end + at
            yield Use(Span(start, start + len(node.name)), Native("annotation", node.name))


def _first(span: Span, name: str) -> Span:
    return Span(span.start, span.start + len(name))


def _last(span: Span, name: str) -> Span:
    return Span(span.end - len(name), span.end)
