"""A file's declared names and their values, each found when it is first asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program import params
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.values import (
    ANY,
    ExternFn,
    LayerFn,
    ModuleValue,
    RuleFn,
    Type,
    Unknown,
    Value,
    type_of,
)

if TYPE_CHECKING:
    from fractal_dsl.program.syntax_to_program.evaluate import Evaluator


class Library(Struct):
    """What all modules of a program share. ``find`` gives an imported file by the span of its path;
    ``allow_python`` lets ``extern`` run code. ``reached`` are the modules by the prefixes that ``-p`` has for them."""

    ev: Evaluator
    find: Callable[[Span], s.File | None]
    parse_value: params.ParseValue
    allow_python: bool = False
    modules: list[Module] = field(default_factory=list["Module"])
    reached: dict[str, Module] = field(default_factory=dict[str, "Module"])
    known: dict[object, Module] = field(default_factory=dict[object, "Module"])

    def module(self, file: s.File, overrides: Mapping[str, str], prefix: str | None) -> Module:
        """A file with these values of ``-p``, each as it is named there: one module however it is imported, so
        that a ``shared`` block is one block."""
        identity = (id(file), tuple(sorted(overrides.items())))
        if identity not in self.known:
            self.known[identity] = Module(self, file, overrides, prefix)
        module = self.known[identity]
        if prefix is not None:
            self.reached[prefix] = module
        return module


class Module:
    """One file's names. ``prefix`` is how ``-p`` reaches its parameters: ``""`` for the file itself, ``base.``
    for one that is imported ``as base``; None where it cannot (``from … import``)."""

    def __init__(self, library: Library, file: s.File, overrides: Mapping[str, str], prefix: str | None) -> None:
        self.library, self.file, self.overrides, self.prefix = library, file, overrides, prefix
        self.decls: dict[str, s.Decl] = {}
        self.values: dict[str, Value] = {}
        self.pending: list[str] = []
        library.modules.append(self)
        self._declare()

    @property
    def ev(self) -> Evaluator:
        """The evaluator."""
        return self.library.ev

    def _declare(self) -> None:
        trains = 0
        for decl in self.file.decls:
            if isinstance(decl, s.TrainDecl):
                trains += 1
                if trains > 1:
                    self.ev.report.error("E0202", decl.span, "a file has one `train` block; this is the second")
                continue
            for name in _names(decl):
                if name.id in self.decls:
                    self.ev.report.error("E0202", name.span, f"`{name.id}` is declared already")
                else:
                    self.decls[name.id] = decl

    def names(self) -> list[str]:
        """All declared names that expressions may have: nets do not nest."""
        return [name for name, decl in self.decls.items() if not isinstance(decl, s.NetDecl)]

    def qualified(self, name: str) -> str | None:
        """A name of an imported file as it is written here: ``cnn.conv_bn``."""
        files = ((alias, v.module) for alias, v in self.values.items() if isinstance(v, ModuleValue))
        return next((f"{alias}.{name}" for alias, module in files if name in module.names()), None)

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
                help = "a part that several nets share is a `layer` or a `rule`"
                return self.ev.error("E0301", span, f"`{name}` is a net, and nets do not nest", help=help)
            case s.Param() | s.Let():
                return self._value(name, decl, span)
            case s.Import() | s.FromImport():
                self.values[name] = self._imported(name, decl)
                return self.values[name]
            case s.Extern():
                allowed = check_extern(self.ev, decl, self.library.allow_python)
                self.values[name] = (
                    ExternFn(decl, self) if allowed else Unknown(Type("join" if decl.is_join else "block"))
                )
                return self.values[name]
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
        return params.param(self, decl, self.overrides.get(decl.name.id), self.library.parse_value)

    def _let(self, decl: s.Let) -> Value:
        value = self.ev.eval(decl.value, Scope(self))
        if decl.shared:
            block = self.ev.block(value, decl.value.span)
            return block if isinstance(block, p.Hole) else p.Group(decl.name.id, block, decl.value.span, shared=True)
        return self.ev.block(value, decl.value.span) if type_of(value) == "block" else value

    def _imported(self, name: str, decl: s.Import | s.FromImport) -> Value:
        file = self.library.find(decl.path.span)
        if file is None:  # reported already
            return ANY
        if isinstance(decl, s.Import):
            prefix = f"{self.prefix}{name}." if self.prefix is not None else None
            inner = {k.removeprefix(f"{name}."): v for k, v in self.overrides.items() if k.startswith(f"{name}.")}
            return ModuleValue(self.library.module(file, inner, prefix))
        module = self.library.module(file, {}, None)
        there, _ = next((a, b) for a, b in decl.names if b.id == name)
        value = module.resolve(there.id, there.span)
        if value is not None:
            return value
        help = self.ev.suggestion(there.id, module.names())
        return self.ev.error("E0805", there.span, f'"{decl.path.value}" declares no `{there.id}`', help=help)


def member(ev: Evaluator, module: Module, name: str, span: Span) -> Value:
    """``m.name``"""
    value = module.resolve(name, span)
    if value is not None:
        return value
    help = ev.suggestion(name, module.names()) or f"it declares {', '.join(module.names()) or 'nothing'}"
    return ev.error("E0805", span, f"{module.file.source.name} declares no `{name}`", help=help)


def check_extern(ev: Evaluator, decl: s.Extern, allow_python: bool) -> bool:
    """Whether the Python class of a declaration may be used, and is there; reports why not."""
    target = str(decl.target.value)
    if not allow_python:
        help = "where you trust the file and that code, say --allow-python"
        ev.report.error("E0106", decl.span, f"`extern` runs the Python code of {target}", help=help)
        return False
    from fractal_dsl.ops.foreign_python import Failed, load_class, search_first

    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", target):
        message = f'"{target}" names no class of a Python module'
        ev.report.error("E0302", decl.target.span, message, help='write `from "package.module:Class"`')
        return False
    search_first(Path(ev.report.sources.at(decl.span).name).parent)
    try:
        load_class(target)
    except Failed as error:
        ev.report.error("E0801", decl.target.span, f"{target} cannot be loaded: {error}")
        return False
    return True


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
