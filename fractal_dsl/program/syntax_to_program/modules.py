"""The declared names of a file and their values, evaluated on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct, field

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.evaluate import Evaluator
from fractal_dsl.program.syntax_to_program.externs import check_extern
from fractal_dsl.program.syntax_to_program.makers import tied
from fractal_dsl.program.syntax_to_program.params import ParseValue, param
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.types import ANY, Type, Unknown
from fractal_dsl.program.syntax_to_program.values import Dropped, ExternFn, LayerFn, ModuleValue, RuleFn, Value, type_of


class Library(Struct):
    """The state that all modules of a program share.

    ``find`` maps the span of an import's path to the imported file. ``allow_python`` lets ``extern`` run code.
    ``reached`` maps each prefix of ``-p`` to its module."""

    core: Evaluator
    find: Callable[[Span], s.File | None]
    parse_value: ParseValue
    allow_python: bool = False
    modules: list[Module] = field(default_factory=list["Module"])
    reached: dict[str, Module] = field(default_factory=dict[str, "Module"])
    by_identity: dict[object, Module] = field(default_factory=dict[object, "Module"])

    def module(self, file: s.File, overrides: Mapping[str, str], prefix: str | None) -> Module:
        """The module of a file with these values of ``-p``. The same file with the same values is one module however it
        is imported, so that a ``shared`` block is one block."""
        identity = (id(file), tuple(sorted(overrides.items())))
        if identity not in self.by_identity:
            self.by_identity[identity] = Module(self, file, overrides, prefix)
        module = self.by_identity[identity]
        if prefix is not None:
            self.reached[prefix] = module
        return module


class Module:
    """The names of one file, as the ``Declarations`` that its expressions see.

    ``prefix`` is the prefix of its parameters in ``-p``: ``""`` for the main file, ``base.`` for a file imported
    ``as base``, None if ``-p`` cannot set them (``from … import``)."""

    def __init__(self, library: Library, file: s.File, overrides: Mapping[str, str], prefix: str | None) -> None:
        self.library, self.core, self.file = library, library.core, file
        self.overrides, self.prefix = overrides, prefix
        self.decls: dict[str, s.Decl] = {}
        self.values: dict[str, Value] = {}
        self.origins: dict[str, s.Name] = {}
        self.pending: list[str] = []
        library.modules.append(self)
        self._declare()

    @property
    def context(self) -> Context:
        """The context that all modules share."""
        return self.core.context

    def _declare(self) -> None:
        trains = 0
        for decl in self.file.decls:
            if isinstance(decl, s.TrainDecl):
                trains += 1
                if trains > 1:
                    self.context.report.error("E0202", decl.span, "a file can have only one `train` block")
                continue
            for name in _names(decl):
                if name.id in self.decls:
                    self.context.report.error("E0202", name.span, f"`{name.id}` is already declared")
                else:
                    self.decls[name.id] = decl
            if isinstance(decl, s.FromImport):
                for there, here in decl.names:
                    self.origins.setdefault(here.id, there)

    def names(self) -> list[str]:
        """All declared names that expressions can use. Nets are excluded, since they do not nest."""
        return [name for name, decl in self.decls.items() if not isinstance(decl, s.NetDecl)]

    def qualified(self, name: str) -> str | None:
        """A name of an imported file as written here: ``cnn.conv_bn``."""
        files = ((alias, v.module) for alias, v in self.values.items() if isinstance(v, ModuleValue))
        return next((f"{alias}.{name}" for alias, module in files if name in module.names()), None)

    def title(self) -> str:
        """The file's name in messages."""
        return self.file.source.name

    def params(self) -> list[s.Param]:
        """The parameters of the file."""
        return [d for d in self.decls.values() if isinstance(d, s.Param)]

    def resolve(self, name: str, span: Span) -> Value | None:
        """The value of a declared name; None if there is no such name."""
        if name in self.values:
            return self.values[name]
        decl = self.decls.get(name)
        match decl:
            case None:
                return None
            case s.LayerDecl():
                return LayerFn(decl, self)
            case s.RuleDecl():
                return RuleFn(decl, self)
            case s.NetDecl():
                help = "write a part that several nets share as a `layer` or a `rule`"
                return self.context.error("E0301", span, f"`{name}` is a net: nets do not nest", help=help)
            case s.Param() | s.Let():
                return self._value(name, decl, span)
            case s.Import() | s.FromImport():
                self.values[name] = self._imported(name, decl)
                return self.values[name]
            case s.Extern():
                allowed = check_extern(self.context, decl, self.library.allow_python)
                unknown = Unknown(Type("join" if decl.is_join else "block"))
                self.values[name] = ExternFn(decl, self) if allowed else unknown
                return self.values[name]
            case _:
                return ANY

    def _value(self, name: str, decl: s.Param | s.Let, span: Span) -> Value:
        context = self.context
        if name in self.pending:
            path = " -> ".join([*self.pending, name])
            return context.error("E0407", span, f"`{name}` needs itself: {path}")
        self.pending.append(name)
        trail, context.trail = context.trail, []
        try:
            self.values[name] = self._param(decl) if isinstance(decl, s.Param) else self._let(decl)
        finally:
            context.trail = trail
            self.pending.pop()
        return self.values[name]

    def _param(self, decl: s.Param) -> Value:
        override = self.overrides.get(decl.name.id)
        return param(self.core, self, decl, self.prefix, override, self.library.parse_value)

    def _let(self, decl: s.Let) -> Value:
        value, span = self.core.evaluate(decl.value, Scope(self)), decl.value.span
        if decl.shared:
            block = tied(self.core.block(value, span))
            return block if isinstance(block, p.Hole) else p.NamedBlock(decl.name.id, block, span, shared=True)
        is_block = type_of(value) == "block" and not isinstance(value, Dropped)
        return self.core.block(value, span) if is_block else value

    def _imported(self, name: str, decl: s.Import | s.FromImport) -> Value:
        file = self.library.find(decl.path.span)
        if file is None:  # reported already
            return ANY
        if isinstance(decl, s.Import):
            prefix = f"{self.prefix}{name}." if self.prefix is not None else None
            inner = {k.removeprefix(f"{name}."): v for k, v in self.overrides.items() if k.startswith(f"{name}.")}
            return ModuleValue(self.library.module(file, inner, prefix))
        module = self.library.module(file, {}, None)
        there = self.origins[name]
        value = module.resolve(there.id, there.span)
        if value is not None:
            return value
        message = f'"{decl.path.value}" declares no `{there.id}`'
        return self.context.error(
            "E0805", there.span, message, help=lambda: self.context.suggestion(there.id, module.names())
        )


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
