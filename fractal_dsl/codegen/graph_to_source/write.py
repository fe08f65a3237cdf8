"""Regions to the source of classes."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from fractal_dsl.base.escaping import docstring
from fractal_dsl.codegen.graph_to_source.header import header
from fractal_dsl.codegen.graph_to_source.names import CLASSES, camel, class_name, distinct, parameter_name, plain
from fractal_dsl.codegen.graph_to_source.regions import ConstructorArgument, Region, Regions, Signature, Statement
from fractal_dsl.graph.graph import JoinGraph


class _Class(Struct):
    """The class of all regions with one signature. ``parameters`` maps the index of a constant to its parameter."""

    name: str
    regions: list[Region]
    parameters: dict[int, str] = field(default_factory=dict[int, str])


class Writer:
    """Writes the module of a graph."""

    def __init__(self, graph: JoinGraph, helpers: Mapping[str, str]) -> None:
        self.graph, self.regions, self.helpers = graph, Regions(graph), helpers
        self.classes: dict[Signature, _Class] = {}
        self.taken = {*CLASSES, *helpers}
        calls = [graph.construction(number) for number, _ in graph.items()]
        self.foreign = self._foreign({c.target for c in calls if c is not None and ":" in c.target})

    def _foreign(self, targets: set[str]) -> dict[str, tuple[str, str]]:
        """The import of each class of ``extern``, and how the code calls it.

        A name that Python would change, or that the module uses already, is imported under another name.
        """
        imports: dict[str, tuple[str, str]] = {}
        for target in sorted(targets):
            module, _, cls = target.partition(":")
            *above, last = cls.split(".")
            parts = [*module.split("."), *above, last]
            if all(map(plain, parts)) and parts[0] not in self.taken:
                imports[target] = f"import {module}", f"{module}.{cls}"
                continue
            name = distinct(class_name(last), self.taken)
            value = f"import_module({module!r})"
            for part in (*above, last):
                value = f"getattr({value}, {part!r})"
            imports[target] = f"{name} = {value}", name
        self.taken |= {line.split(".")[0].split()[1] for line, _ in imports.values() if line.startswith("import ")}
        return imports

    def _finish(self, cls: _Class, name: str) -> None:
        cls.name = distinct(name, self.taken)
        rows = [[c.value for c in region.constants] for region in cls.regions]
        parameters: dict[tuple[str, ...], str] = {}
        names = {*self.taken}
        for i, column in enumerate(zip(*rows, strict=True)):
            written = tuple(map(repr, column))  # 1, 1.0 and True are equal
            if len({*written}) == 1:
                continue
            if written not in parameters:
                parameters[written] = parameter_name(cls.regions[0].constants[i].name, names)
            cls.parameters[i] = parameters[written]

    def source(self, title: str, notes: Sequence[str], example: Sequence[str]) -> str:
        """The module's text."""
        net = self.regions.net()
        self.classes = {signature: _Class("", regions) for signature, regions in self.regions.alike.items()}
        name = class_name(self.graph.net)
        whole = _Class(distinct(f"Net_{name}" if name in self.taken else name, self.taken), [net])
        for signature, cls in self.classes.items():
            self._finish(cls, camel(signature[0]))
        used = {s.target for c in [whole, *self.classes.values()] for u in c.regions for s in u.statements if s.target}
        parts = [self.helpers[t] for t in sorted(used) if t in self.helpers]
        parts += [self._class(cls) for cls in self.classes.values()]
        parts.append(self._class(whole))
        body = "\n\n\n".join(part.strip() for part in parts)
        modules = sorted({target.partition(":")[0] for target in self.foreign})
        text = header(self.graph, title, notes, whole.name, modules, example)
        return f"{docstring(text)}\n\n{self._imports(body)}\n\n\n{body}\n"

    def _imports(self, body: str) -> str:
        """The import statements that the classes need, and the classes of ``extern`` that have other names here."""
        read = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
        lines = sorted({line for line, _ in self.foreign.values()})
        direct, renamed = [x for x in lines if x.startswith("import ")], [x for x in lines if x[:7] != "import "]
        standard = ["from collections import OrderedDict"] if "OrderedDict" in read else []
        standard += ["from importlib import import_module"] if renamed else []
        torch = [*(["import torch"] if "torch" in read else []), "from torch import Tensor, nn"]
        groups = [standard, [*direct, *torch] if not direct else [*direct, "", *torch], renamed]
        return "\n\n".join("\n".join(group) for group in groups if group)

    def _class(self, cls: _Class) -> str:
        region = cls.regions[0]
        signature = "".join(f", {p}" for p in dict.fromkeys(cls.parameters.values()))
        paths = [s.path for s in region.statements if s.path]
        reads = [region.input, *[s.result for s in region.statements]]
        chain = len(region.statements) > 1 and all(
            s.join is None and s.operands == (before,) for before, s in zip(reads, region.statements, strict=False)
        )
        if chain and region.prefix and all("." not in p for p in paths):
            members = self._members(cls, region)
            lines = [f"    {path}={call}," for path, call in members.items()]
            body = "super().__init__(\n    OrderedDict(\n" + textwrap.indent("\n".join(lines), "    ") + "\n    )\n)"
            return _definition(cls.name, "nn.Sequential", signature, body, None)
        init = ["super().__init__()", *self._containers(self._members(cls, region))]
        return _definition(cls.name, "nn.Module", signature, "\n".join(init), self._forward(region))

    def _members(self, cls: _Class, region: Region) -> dict[str, str]:
        """The constructor call of each submodule, by its path."""
        members: dict[str, str] = {}
        offset = 0
        for s in region.statements:
            if s.region is not None:
                child = self.classes[s.region.signature]
                first = {name: i for i, name in reversed(child.parameters.items())}
                args = [_value(cls, s.region.constants[i], offset + i) for i in sorted(first.values())]
                members[s.path] = f"{child.name}({', '.join(args)})"
                offset += len(s.region.constants)
            elif s.target:
                values = [_value(cls, c, offset + i) for i, c in enumerate(s.constants)]
                places = len(values) - len(s.keywords)
                args = values[:places] + [_keyword(k, v) for k, v in zip(s.keywords, values[places:], strict=True)]
                called = self.foreign[s.target][1] if ":" in s.target else s.target
                members[s.path] = f"{called}({', '.join(args)})"
                offset += len(s.constants)
        return members

    def _containers(self, members: Mapping[str, str]) -> list[str]:
        """Assignments of submodules. Dotted paths go into one ModuleDict for each prefix."""
        tree: dict[str, Any] = {}
        for path, call in members.items():
            at = tree
            *above, name = path.split(".")
            for part in above:
                at = at.setdefault(part, {})
            at[name] = call

        def text(value: Any) -> str:
            if isinstance(value, str):
                return value
            inner = "\n".join(f'"{k}": {text(v)},' for k, v in value.items())
            return "nn.ModuleDict(\n    {\n" + textwrap.indent(inner, "        ") + "\n    }\n)"

        return [f"self.{name} = {text(value)}" for name, value in tree.items()]

    def _forward(self, region: Region) -> str:
        last_use = {o: i for i, s in enumerate(region.statements) for o in s.operands}
        last_use[region.output] = len(region.statements)
        held: dict[str, int] = {"x": region.input}
        variable: dict[int, str] = {region.input: "x"}
        lines: list[str] = []
        for i, s in enumerate(region.statements):
            reads = [variable[o] for o in s.operands]
            name = self._lane(s)
            while name in held and last_use[held[name]] > i:
                match = re.fullmatch(r"(.*?)_(\d+)", name)
                name = f"{match[1]}_{int(match[2]) + 1}" if match else f"{name}_2"
            held[name], variable[s.result] = s.result, name
            lines.append(f"{name} = {_call(s, reads)}")
        lines.append(f"return {variable[region.output]}")
        return "\n".join(lines)

    def _lane(self, s: Statement) -> str:
        """The variable of a value: one for each column, ``x`` outside the columns, ``z`` for joins."""
        match = re.match(r"column(\d+)\.", s.path)
        if s.join is not None:
            return "z"
        return f"c{match[1]}" if match else "x"


def _call(s: Statement, reads: Sequence[str]) -> str:
    if s.join is None or s.target:
        return f"self.{s.path}({', '.join(reads)})"
    match s.join.spec.name:
        case "mean":
            return f"({' + '.join(reads)}) / {len(reads)}"
        case "sum":
            return " + ".join(reads)
        case "max":
            result = reads[0]
            for read in reads[1:]:
                result = f"torch.maximum({result}, {read})"
            return result
        case _:
            return f"torch.cat([{', '.join(reads)}], {s.join.args['dim']})"


def _value(cls: _Class, constant: ConstructorArgument, place: int) -> str:
    return cls.parameters.get(place) or repr(constant.value)


def _keyword(name: str, value: str) -> str:
    """A keyword argument, in a dict if its name is no Python identifier."""
    return f"{name}={value}" if plain(name) else f"**{{{name!r}: {value}}}"


def _definition(name: str, base: str, signature: str, init: str, forward: str | None) -> str:
    text = f"class {name}({base}):\n    def __init__(self{signature}):\n{textwrap.indent(init, ' ' * 8)}\n"
    if forward is not None:
        text += f"\n    def forward(self, x: Tensor) -> Tensor:\n{textwrap.indent(forward, ' ' * 8)}\n"
    return text
