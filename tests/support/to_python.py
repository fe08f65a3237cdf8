"""A parsed program as Python source that builds it: what a person would write, with every operation in parentheses."""

from __future__ import annotations

import keyword
from collections.abc import Collection, Iterator

from fractal_dsl.language import syntax as s
from fractal_dsl.language.walk import names_in
from fractal_dsl.ops import JOINS, LAYERS

FUNCTIONS = ("seq", "range", "zip", "len", "enumerate", "reversed", "split", "unembed")
_OPERATORS = {"and": "&", "or": "|"}


def file_to_python(file: s.File) -> str:
    """Python source that assigns the program to ``spec``."""
    writer = _Writer(file)
    lines = ["import fractal_dsl.builder as fd", ""]
    for decl in file.decls:
        lines += [*writer.declaration(decl), ""]
    return "\n".join([*lines, f"spec = fd.Spec({', '.join(writer.parts)})", ""])


def _word(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) else name


class _Writer:
    def __init__(self, file: s.File) -> None:
        self.parts: list[str] = []
        self.declared: set[str] = set()
        for decl in file.decls:
            match decl:
                case s.FromImport(names=names):
                    self.declared |= {b.id for _, b in names}
                case s.TrainDecl():
                    pass
                case _:
                    self.declared.add(decl.name if isinstance(decl, s.BrokenDecl) else decl.name.id)
        self.local: set[str] = set()

    # declarations

    def declaration(self, decl: s.Decl) -> Iterator[str]:
        name = _word(decl.name.id) if not isinstance(decl, s.FromImport | s.TrainDecl | s.BrokenDecl) else ""
        self.parts += [name] if name else []
        doc = f", doc={decl.doc!r}" if not isinstance(decl, s.BrokenDecl) and decl.doc else ""
        match decl:
            case s.Import():
                yield f"{name} = fd.import_({decl.path.value!r}, {decl.name.id!r})"
            case s.FromImport():
                names = [_word(b.id) for _, b in decl.names]
                given = ", ".join([repr(a.id if a.id == b.id else f"{a.id} as {b.id}") for a, b in decl.names])
                yield f"{', '.join(names)} = fd.from_({decl.path.value!r}, {given})"
                self.parts += names
            case s.Param():
                default = f", {self.expr(decl.default)}" if decl.default is not None else ""
                yield f"{name} = fd.param({name!r}, {self.type(decl.type)}{default}{self.domain(decl.domain)}{doc})"
            case s.Let():
                kind = "shared" if decl.shared else "let"
                yield from self.values(decl.value, [])
                yield f"{name} = fd.{kind}({name!r}, {self.result(decl.value, [])}{doc})"
            case s.LayerDecl():
                yield f"@fd.{'join' if decl.is_join else 'layer'}"
                yield from self.function(name, self.signature(decl.params), decl.doc)
                names = [p.name.id for p in decl.params]
                yield from self.values(decl.body, names, "    ")
                yield f"    return {self.result(decl.body, names)}"
            case s.RuleDecl():
                yield from self.rule(decl, name)
            case s.NetDecl():
                options = ", ".join([self.option(o) for o in decl.options])
                train = ", train=recipe" if "recipe" in self.parts else ""
                to = self.outputs(decl.outputs)
                types = ", ".join([*[self.type(one.type) for one in decl.inputs], f"to={to}"])
                yield f"@fd.net({types}, options=[{options}]{train})"
                yield from self.function(name, ", ".join([_word(one.name.id) for one in decl.inputs]), decl.doc)
                names = [one.name.id for one in decl.inputs]
                yield from self.values(decl.body, names, "    ")
                yield f"    return {self.result(decl.body, names)}"
            case s.TrainDecl():
                rows = [f"{_word(row.key.id)}={self.setting(row.value)}" for row in decl.settings]
                yield f"recipe = fd.train({', '.join(rows)})"
                self.parts.append("recipe")
            case s.Extern():
                yield f"@fd.extern_{'join' if decl.is_join else 'layer'}({decl.target.value!r})"
                yield from self.function(name, self.signature(decl.params), decl.doc)
                yield "    ..."
            case s.BrokenDecl():
                raise AssertionError(decl)

    def outputs(self, outputs: tuple[s.Output, ...]) -> str:
        types = [self.type(one.type) for one in outputs]
        if len(outputs) == 1:
            return types[0]
        names = [one.name.id for one in outputs if one.name]
        return f"{{{', '.join(map('{!r}: {}'.format, names, types))}}}" if names else f"({', '.join(types)})"

    def function(self, name: str, signature: str, doc: str) -> Iterator[str]:
        yield f"def {name}({signature}):"
        if doc:
            yield f"    {doc!r}"

    def rule(self, decl: s.RuleDecl, name: str) -> Iterator[str]:
        yield "@fd.rule"
        level = next((c.var.id for c in decl.cases if c.var), "n")
        yield from self.function(
            name, ", ".join(filter(None, ["F", _word(level), self.signature(decl.params)])), decl.doc
        )
        names = [p.name.id for p in decl.params]
        if decl.join is not None:
            yield f"    F.join = {self.body(decl.join, names)}"
        for case in decl.cases:
            inside = [*names, level] if case.var else names
            head = f"{_word(case.var.id)} + {case.offset}" if case.var and case.offset else _word(level)
            head = head if case.var else str(case.offset)
            guard = f", fd.when({self.body(case.guard, inside)})" if case.guard is not None else ""
            yield from self.values(case.body, inside, "    ")
            body = self.result(case.body, inside)
            yield f"    F[{head}{guard}] = {body}"

    def signature(self, params: tuple[s.Parameter, ...]) -> str:
        shown: list[str] = []
        earlier: list[str] = []
        for p in params:
            default = ""
            if p.default is not None:
                default = f" = {self.expr(p.default, earlier)}"
            elif any(" = " in text for text in shown):
                shown.append("*")  # a parameter without a default after one with a default
            shown.append(f"{_word(p.name.id)}: {self.type(p.type)}{default}")
            earlier.append(p.name.id)
        return ", ".join(dict.fromkeys(shown))

    def type(self, type: s.TypeExpr) -> str:
        if type.item is not None:
            return f"list[{self.type(type.item)}]"
        if type.dims is not None:
            return f"fd.{type.name}[{', '.join([self.expr(d) for d in type.dims])}]"
        return {"block": "fd.Block", "join": "fd.Join", "prob": "fd.prob"}.get(type.name, type.name)

    def domain(self, domain: s.RangeDomain | s.SetDomain | None) -> str:
        match domain:
            case None:
                return ""
            case s.RangeDomain():
                return f", within=fd.between({self.expr(domain.low)}, {self.expr(domain.high)})"
            case s.SetDomain():
                return f", within=[{', '.join([self.expr(v) for v in domain.values])}]"

    def option(self, option: s.Call) -> str:
        assert isinstance(option.func, s.Name)
        args = [
            "columns='all'" if isinstance(a.value, s.Name) and a.value.id == "all" else self.argument(a)
            for a in option.args
        ]
        return f"fd.{option.func.id}({', '.join(args)})"

    def setting(self, value: s.Expr) -> str:
        match value:
            case s.Call(func=s.Name(id=name)):
                return f"fd.settings.{_word(name)}({', '.join([self.argument(a) for a in value.args])})"
            case _:
                return self.expr(value)

    # expressions

    def values(self, body: s.Expr, names: list[str], indent: str = "") -> Iterator[str]:
        """A statement for each value of a body."""
        for i, value in enumerate(body.values if isinstance(body, s.Where) else ()):
            known = [*names, *[v.name.id for v in body.values[:i]]] if isinstance(body, s.Where) else names
            yield f"{indent}{_word(value.name.id)} = fd.value({value.name.id!r}, {self.body(value.value, known)})"

    def result(self, body: s.Expr, names: list[str]) -> str:
        """The body of a declaration without its values."""
        if isinstance(body, s.Where):
            return self.body(body.body, [*names, *[v.name.id for v in body.values]])
        return self.body(body, names)

    def body(self, expr: s.Expr, names: Collection[str]) -> str:
        before, self.local = self.local, self.local | {*names}
        text = self.expr(expr)
        self.local = before
        return text

    def expr(self, expr: s.Expr, earlier: Collection[str] = ()) -> str:
        match expr:
            case s.Outputs():
                return f"({', '.join([self.expr(item) for item in expr.items])})"
            case s.Literal(prob=True):
                return f"fd.prob({expr.value!r})"
            case s.Literal():
                return repr(expr.value)
            case s.Name(id=name) if name in earlier:
                return f"fd.earlier({name!r})"
            case s.Name(id=name) if name not in self.local | self.declared and name in (
                *LAYERS,
                *JOINS,
                *FUNCTIONS,
                "nn",
            ):
                return f"fd.{name}"
            case s.Name(id=name):
                return _word(name)
            case s.Items():
                return f"[{', '.join([self.expr(e, earlier) for e in expr.items])}]"
            case s.Comprehension():
                used = {t.id for t in expr.targets} & names_in(expr.body)
                return f"fd.literal({'[' * bool(used)}{self.loop(expr, earlier)}{']' * bool(used)})"
            case s.Unary(op=op):
                return f"{'~' if op == 'not' else '-'}{self.operand(expr.operand, earlier)}"
            case s.Binary(op=op):
                left, right = self.operand(expr.left, earlier), self.operand(expr.right, earlier)
                return f"({left} {_OPERATORS.get(op, op)} {right})"
            case s.Flow(steps=parts):
                return f"({' >> '.join([self.expr(p, earlier) for p in parts])})"
            case s.Columns(columns=parts):
                return f"({' | '.join([self.expr(p, earlier) for p in parts])})"
            case s.Call():
                args = ", ".join([self.argument(a, earlier) for a in expr.args])
                return f"{self.expr(expr.func, earlier)}({args})"
            case s.Index():
                return f"{self.operand(expr.base, earlier)}[{self.expr(expr.index, earlier)}]"
            case s.Attribute():
                return f"{self.expr(expr.base, earlier)}.{_word(expr.name)}"
            case s.Annotated():
                args = ", ".join([self.argument(a, earlier) for a in expr.args])
                return f"{self.expr(expr.base, earlier)}.{expr.name}({args})"
            case _:
                raise AssertionError(expr)

    def operand(self, expr: s.Expr, earlier: Collection[str]) -> str:
        """An operand of an operator that Python must not evaluate."""
        text = self.expr(expr, earlier)
        return f"fd.literal({text})" if isinstance(expr, s.Literal | s.Items) else text

    def loop(self, loop: s.Comprehension, earlier: Collection[str]) -> str:
        names = [t.id for t in loop.targets]
        before, self.local = self.local, self.local | {*names}
        body = self.expr(loop.body, [name for name in earlier if name not in names])
        self.local = before
        return f"{body} for {', '.join(map(_word, names))} in {self.operand(loop.iterable, earlier)}"

    def argument(self, arg: s.Arg, earlier: Collection[str] = ()) -> str:
        if isinstance(arg.value, s.Comprehension) and arg.value.span == arg.span:
            return self.loop(arg.value, earlier)
        return (f"{_word(arg.name)}=" if arg.name else "") + self.expr(arg.value, earlier)
