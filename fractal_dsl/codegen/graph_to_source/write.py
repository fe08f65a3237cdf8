"""Regions to the source of classes."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from fractal_dsl.base.escaping import docstring
from fractal_dsl.codegen.graph_to_source.forward import forward
from fractal_dsl.codegen.graph_to_source.header import header
from fractal_dsl.codegen.graph_to_source.names import (
    CLASSES,
    MODULE,
    camel,
    class_name,
    distinct,
    is_plain,
    parameter_name,
)
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
            if all(map(is_plain, parts)) and parts[0] not in self.taken:
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
        statements = [s for c in [whole, *self.classes.values()] for u in c.regions for s in u.statements]
        used = {s.target for s in statements} | {name for s in statements if s.kept for name in (s.draw, s.helper)}
        used |= {"draw_column"} if self._draws_columns() else set()
        parts = [self.helpers[name] for name in sorted(used) if name in self.helpers]
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
        reads = [region.inputs[0], *[s.result for s in region.statements]]
        chain = len(region.statements) > 1 and all(
            s.join is None and s.operands == (before,) for before, s in zip(reads, region.statements, strict=False)
        )
        if chain and region.prefix and all("." not in p for p in paths):
            members = self._members(cls, region)
            lines = [f"    {path}={call}," for path, call in members.items()]
            body = "super().__init__(\n    OrderedDict(\n" + textwrap.indent("\n".join(lines), "    ") + "\n    )\n)"
            return _definition(cls.name, "nn.Sequential", signature, body, None)
        members = self._members(cls, region)
        kept, names = self._kept(cls, region, members)
        init = ["super().__init__()", *kept, *self._containers(members)]
        inputs = ["x"] if region.prefix or len(region.inputs) == 1 else self._inputs()
        body = forward(region, names, inputs)
        if not region.prefix and self._draws_columns():
            drop = self.graph.drop_path
            assert drop is not None
            columns = [*map(float, drop.weights or (1,) * self.graph.n_columns)]
            body = f"draw_column(self, {drop.global_}, {columns})\n{body}"
        outputs = f"tuple[{', '.join(['Tensor'] * len(region.outputs))}]" if len(region.outputs) > 1 else "Tensor"
        head = f"{', '.join(f'{name}: Tensor' for name in inputs)}) -> {outputs}"
        return _definition(cls.name, "nn.Module", signature, "\n".join(init), body, head)

    def _inputs(self) -> list[str]:
        """The parameters of ``forward`` for the inputs of a net that has several."""
        taken: set[str] = {"self", *MODULE}
        return [parameter_name(node.name, taken) for _, node in self.graph.inputs]

    def _draws_columns(self) -> bool:
        """Whether training steps may run a single column."""
        drop_path = self.graph.drop_path
        return drop_path is not None and drop_path.global_ > 0 and bool(self.graph.joins())

    def _members(self, cls: _Class, region: Region) -> dict[str, str]:
        """The constructor call of each submodule, by its path."""
        members: dict[str, str] = {}
        for s, offset in _placed(region):
            if s.region is not None:
                child = self.classes[s.region.signature]
                first = {name: i for i, name in reversed(child.parameters.items())}
                args = [_value(cls, s.region.constants[i], offset + i) for i in sorted(first.values())]
                members[s.path] = f"{child.name}({', '.join(args)})"
            elif s.target:
                values = [_value(cls, c, offset + i) for i, c in enumerate(s.constants)]
                places = len(values) - len(s.keywords)
                args = values[:places] + [_keyword(k, v) for k, v in zip(s.keywords, values[places:], strict=True)]
                called = self.foreign[s.target][1] if ":" in s.target else s.target
                members[s.path] = f"{called}({', '.join(args)})"
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

    def _kept(self, cls: _Class, region: Region, members: Iterable[str]) -> tuple[list[str], dict[int, list[str]]]:
        """Assignments of what the joins with branches to leave out read, and the names of it for each of them."""
        taken = {path.partition(".")[0] for path in members}
        lines: list[str] = []
        names: dict[int, list[str]] = {}
        for s, offset in _placed(region):
            at = offset + s.constant_count()
            for wanted, values in s.kept:
                name = distinct(wanted, taken)
                names.setdefault(s.result, []).append(name)
                lines.append(f"self.{name} = ({', '.join(_value(cls, c, at + i) for i, c in enumerate(values))})")
                at += len(values)
        return lines, names


def _placed(region: Region) -> Iterator[tuple[Statement, int]]:
    """The statements, each with the place of its first constant among those of the region."""
    offset = 0
    for s in region.statements:
        yield s, offset
        offset += s.constant_count() + sum(len(values) for _, values in s.kept)


def _value(cls: _Class, constant: ConstructorArgument, place: int) -> str:
    return cls.parameters.get(place) or repr(constant.value)


def _keyword(name: str, value: str) -> str:
    """A keyword argument, in a dict if its name is no Python identifier."""
    return f"{name}={value}" if is_plain(name) else f"**{{{name!r}: {value}}}"


def _definition(
    name: str, base: str, signature: str, init: str, forward: str | None, head: str = "x: Tensor) -> Tensor"
) -> str:
    text = f"class {name}({base}):\n    def __init__(self{signature}):\n{textwrap.indent(init, ' ' * 8)}\n"
    if forward is not None:
        text += f"\n    def forward(self, {head}:\n{textwrap.indent(forward, ' ' * 8)}\n"
    return text
