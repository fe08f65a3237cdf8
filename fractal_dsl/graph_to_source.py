"""Join graph to Python source that a person would maintain: ``model.py``, which imports torch and nothing else.

Names under one dotted prefix that form a region with one input and one output become a class (a user's
layer, a block); regions of one structure share a class, and the constants in which they differ become its
parameters. Prefixes that are no such region (a column, cut by joins) become ``nn.ModuleDict`` containers.
"""

from __future__ import annotations

import re
import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fractal_dsl.graph import Join, JoinGraph, Layer

Signature = tuple[Any, ...]

_ARGUMENTS = {
    "Conv": ("in_channels", "out_channels", "kernel_size"),
    "Linear": ("in_features", "out_features"),
    "BatchNorm": ("num_features",),
    "InstanceNorm": ("num_features",),
    "GroupNorm": ("num_groups", "num_channels"),
    "LayerNorm": ("normalized_shape",),
    "Dropout": ("p",),
    "Embedding": ("num_embeddings", "embedding_dim"),
    "Attention": ("features", "num_heads"),
    "Positions": ("length", "features"),
    "Place": ("dim", "before", "after"),
}


@dataclass(slots=True)
class _Constant:
    """A constructor's argument: its value, and what its parameter would be called."""

    value: Any
    name: str


@dataclass(slots=True)
class _Statement:
    """One line of ``forward``: a layer, a class instance, or a join of values (numbers of graph nodes)."""

    result: int
    operands: tuple[int, ...]
    path: str = ""
    target: str = ""
    constants: tuple[_Constant, ...] = ()
    keywords: tuple[str, ...] = ()
    unit: _Unit | None = None
    join: Join | None = None


@dataclass(slots=True)
class _Unit:
    """A region of the net under one prefix, with one input and one output."""

    prefix: str
    input: int
    output: int
    statements: list[_Statement]
    constants: list[_Constant] = field(default_factory=list[_Constant])
    signature: Signature = ()


@dataclass(slots=True)
class _Class:
    """The source of all units of one signature. ``parameters`` maps a constant's place to its parameter."""

    name: str
    units: list[_Unit]
    parameters: dict[int, str] = field(default_factory=dict[int, str])


def graph_to_source(graph: JoinGraph, helpers: Mapping[str, str], header: str) -> str:
    """The source of ``model.py``. ``helpers`` are the sources of layers that torch.nn does not have, by name;
    ``header`` is the text of the module's docstring."""
    return _Emitter(graph, helpers).source(header)


class _Emitter:
    def __init__(self, graph: JoinGraph, helpers: Mapping[str, str]) -> None:
        self.graph, self.helpers = graph, helpers
        self.alias: dict[int, int] = {}
        self.operands: dict[int, tuple[int, ...]] = {}
        self.names: dict[int, str] = {}
        readers: dict[int, list[int]] = defaultdict(list)
        for number, node in graph.items():
            operands = tuple([self.alias.get(o, o) for o in graph.operands(number)])
            if isinstance(node, Layer) and node.spec.name == "id":
                self.alias[number] = operands[0]
                continue
            self.operands[number] = operands
            if isinstance(node, Layer | Join):
                self.names[number] = node.name
            for o in operands:
                readers[o].append(number)
        self.readers = readers
        self.members: dict[str, list[int]] = defaultdict(list)
        for number, name in self.names.items():
            while "." in name:
                name = name.rpartition(".")[0]
                self.members[name].append(number)
        self.classes: dict[Signature, _Class] = {}
        self.taken = {"nn", "torch", "OrderedDict", "Tensor", *helpers}

    # --- units

    def _ends(self, prefix: str) -> tuple[int, int] | None:
        """The value that a region reads and the one that it hands on; None if it is no unit."""
        if re.fullmatch(r"column\d+", prefix.rpartition(".")[2]):
            return None
        inside = set(self.members[prefix])
        reads = {o for n in inside for o in self.operands[n] if o not in inside}
        hands = {n for n in inside if any(r not in inside for r in self.readers[n])}
        return (reads.pop(), hands.pop()) if len(reads) == len(hands) == 1 else None

    def _unit(self, prefix: str, numbers: Sequence[int], ends: tuple[int, int]) -> _Unit:
        unit = _Unit(prefix, *ends, [])
        skip = len(prefix) + 1 if prefix else 0
        done: dict[str, _Unit | None] = {}
        for number in numbers:
            child = self._child(prefix, number, done)
            if child is None:
                unit.statements.append(self._statement(number, skip))
            elif number == child.output:
                path = child.prefix[skip:]
                unit.statements.append(_Statement(number, (child.input,), path, unit=child))
        self._sign(unit)
        return unit

    def _child(self, prefix: str, number: int, done: dict[str, _Unit | None]) -> _Unit | None:
        """The unit below ``prefix`` that a node belongs to, if any."""
        name = self.names[number]
        parts = name.split(".")
        depth = prefix.count(".") + 1 if prefix else 0
        for i in range(depth + 1, len(parts)):
            path = ".".join(parts[:i])
            if path not in done:
                ends = self._ends(path)
                done[path] = self._unit(path, self.members[path], ends) if ends else None
            unit = done[path]
            if unit is not None:
                return unit
        return None

    def _statement(self, number: int, skip: int) -> _Statement:
        node = self.graph[number]
        if isinstance(node, Join):
            return _Statement(number, self.operands[number], join=node)
        assert isinstance(node, Layer)
        torch = node.spec.torch(node.into, node.args)
        kind = re.sub(r"(Transpose)?\d?d?$", "", torch.target.rpartition(".")[2])
        known = _ARGUMENTS.get(kind, ())
        constants = [
            _Constant(v, known[i] if i < len(known) else f"argument{i + 1}") for i, v in enumerate(torch.args)
        ]
        constants += [_Constant(v, k) for k, v in torch.kwargs]
        keywords = tuple([k for k, _ in torch.kwargs])
        return _Statement(number, self.operands[number], node.name[skip:], torch.target, tuple(constants), keywords)

    def _sign(self, unit: _Unit) -> None:
        """The structure of a unit without its constants, which are collected, and its class."""
        place = {unit.input: 0} | {s.result: i for i, s in enumerate(unit.statements, 1)}
        signature: list[Signature] = []
        for s in unit.statements:
            reads = tuple([place[o] for o in s.operands])
            if s.unit is not None:
                signature.append((s.path, reads, s.unit.signature))
                unit.constants += s.unit.constants
            elif s.join is not None:
                signature.append(("join", s.join.spec.name, tuple(s.join.args.items()), reads))
            else:
                signature.append((s.path, s.target, len(s.constants), s.keywords, reads))
                unit.constants += s.constants
        unit.signature = (unit.prefix.rpartition(".")[2].rstrip("0123456789_") or "net", tuple(signature))
        # a class for the net itself is made in the end, under the net's own name
        if unit.prefix:
            self.classes.setdefault(unit.signature, _Class("", [])).units.append(unit)

    # --- classes

    def _finish(self, cls: _Class, name: str) -> None:
        cls.name = self._free(name)
        rows = [[c.value for c in unit.constants] for unit in cls.units]
        parameters: dict[tuple[Any, ...], str] = {}
        names: set[str] = {"self"}
        for i, column in enumerate(zip(*rows, strict=True)):
            if all(v == column[0] and type(v) is type(column[0]) for v in column):
                continue
            if column not in parameters:
                parameters[column] = _distinct(cls.units[0].constants[i].name, names)
            cls.parameters[i] = parameters[column]

    def _free(self, name: str) -> str:
        result = _distinct(name, self.taken)
        return result

    def source(self, header: str) -> str:
        input = self.graph.input[0]
        end = self.operands[self.graph.output[0]][0]
        net = self._unit("", list(self.names), (input, end))
        name = re.sub(r"\W", "_", self.graph.net, flags=re.ASCII)
        self.taken.add(name)
        for signature, cls in self.classes.items():
            self._finish(cls, _camel(signature[0]))
        whole = _Class(name, [net])
        used = {
            s.target for c in [whole, *self.classes.values()] for u in c.units for s in u.statements if s.target
        }
        parts = [self.helpers[t] for t in sorted(used) if t in self.helpers]
        parts += [self._class(cls) for cls in self.classes.values()]
        parts.append(self._class(whole))
        imports = "import torch\nfrom torch import Tensor, nn"
        body = "\n\n\n".join(part.strip() for part in parts)
        if "OrderedDict(" in body:
            imports = "from collections import OrderedDict\n\n" + imports
        if "torch." not in re.sub(r"#.*|\"\"\"[\s\S]*?\"\"\"", "", body):
            imports = imports.replace("import torch\n", "", 1)
        return f'"""{header.strip()}\n"""\n\n{imports}\n\n\n{body}\n'

    def _class(self, cls: _Class) -> str:
        unit = cls.units[0]
        signature = "".join(f", {p}" for p in dict.fromkeys(cls.parameters.values()))
        paths = [s.path for s in unit.statements if s.path]
        chain = len(unit.statements) > 1 and all(
            s.join is None and s.operands == (before.result,)
            for before, s in zip(unit.statements, unit.statements[1:], strict=False)
        )
        if chain and unit.prefix and all("." not in p for p in paths):
            members = self._members(cls, unit)
            lines = [f"    {path}={call}," for path, call in members.items()]
            body = "super().__init__(\n    OrderedDict(\n" + textwrap.indent("\n".join(lines), "    ") + "\n    )\n)"
            return _definition(cls.name, "nn.Sequential", signature, body, None)
        init = ["super().__init__()", *self._containers(self._members(cls, unit))]
        return _definition(cls.name, "nn.Module", signature, "\n".join(init), self._forward(unit))

    def _members(self, cls: _Class, unit: _Unit) -> dict[str, str]:
        """The constructor call of each submodule by its path."""
        members: dict[str, str] = {}
        offset = 0
        for s in unit.statements:
            if s.unit is not None:
                child = self.classes[s.unit.signature]
                first = {name: i for i, name in reversed(child.parameters.items())}
                args = [_value(cls, s.unit.constants[i], offset + i) for i in sorted(first.values())]
                members[s.path] = f"{child.name}({', '.join(args)})"
                offset += len(s.unit.constants)
            elif s.join is None:
                values = [_value(cls, c, offset + i) for i, c in enumerate(s.constants)]
                plain = len(values) - len(s.keywords)
                args = values[:plain] + [f"{k}={v}" for k, v in zip(s.keywords, values[plain:], strict=True)]
                members[s.path] = f"{s.target}({', '.join(args)})"
                offset += len(s.constants)
        return members

    def _containers(self, members: Mapping[str, str]) -> list[str]:
        """Assignments of submodules; those behind a dot go into one ModuleDict for each prefix."""
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

    def _forward(self, unit: _Unit) -> str:
        last_use = {o: i for i, s in enumerate(unit.statements) for o in s.operands}
        last_use[unit.output] = len(unit.statements)
        held: dict[str, int] = {"x": unit.input}
        variable: dict[int, str] = {unit.input: "x"}
        lines: list[str] = []
        for i, s in enumerate(unit.statements):
            reads = [variable[o] for o in s.operands]
            name = self._lane(s)
            while name in held and last_use[held[name]] > i:
                match = re.fullmatch(r"(.*?)_(\d+)", name)
                name = f"{match[1]}_{int(match[2]) + 1}" if match else f"{name}_2"
            held[name], variable[s.result] = s.result, name
            lines.append(f"{name} = {_call(s, reads)}")
        lines.append(f"return {variable[unit.output]}")
        return "\n".join(lines)

    def _lane(self, s: _Statement) -> str:
        """The variable of a value: one for each column, ``x`` for what is in none."""
        match = re.match(r"column(\d+)\.", s.path)
        if s.join is not None:
            return "z"
        return f"c{match[1]}" if match else "x"


def _call(s: _Statement, reads: Sequence[str]) -> str:
    if s.join is None:
        return f"self.{s.path}({reads[0]})"
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


def _value(cls: _Class, constant: _Constant, place: int) -> str:
    return cls.parameters.get(place) or repr(constant.value)


def _definition(name: str, base: str, signature: str, init: str, forward: str | None) -> str:
    text = f"class {name}({base}):\n    def __init__(self{signature}):\n{textwrap.indent(init, ' ' * 8)}\n"
    if forward is not None:
        text += f"\n    def forward(self, x: Tensor) -> Tensor:\n{textwrap.indent(forward, ' ' * 8)}\n"
    return text


def _distinct(name: str, taken: set[str]) -> str:
    result, count = name, 1
    while result in taken:
        count += 1
        result = f"{name}_{count}"
    taken.add(result)
    return result


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_")) or "Layer"
