"""The regions of a graph that become classes, each with the constants in which equal regions may differ."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from msgspec import Struct, field

from fractal_dsl.graph.graph import Join, JoinGraph, Layer

Signature = tuple[Any, ...]
_Ends = tuple[tuple[int, ...], tuple[int, ...]]

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
    "Positions": ("shape",),
    "Recurrent": ("kind", "features", "hidden_size"),
    "Gated": ("operands", "init"),
    "Place": ("dim", "before", "after"),
    "DropExamples": ("drop",),
}


class ConstructorArgument(Struct):
    """An argument of a constructor: its value, and the name of its parameter."""

    value: Any
    name: str


class Statement(Struct):
    """One line of ``forward``: a layer, a class instance, or a join of values (numbers of graph nodes)."""

    result: int
    operands: tuple[int, ...]
    path: str = ""
    target: str = ""
    constants: tuple[ConstructorArgument, ...] = ()
    keywords: tuple[str, ...] = ()
    region: Region | None = None
    join: Join | None = None
    kept: tuple[tuple[str, tuple[ConstructorArgument, ...]], ...] = ()
    """What the object keeps for a join with branches to leave out: their probabilities, or the operand of each column,
    and, for `concat`, sizes."""
    local: float | None = None
    """The probability by which local drop-path drops an operand; None for a join that drop-path leaves alone."""

    @property
    def may_drop(self) -> tuple[bool, ...]:
        """Which operands training may leave out."""
        if self.local is not None:
            return (True,) * len(self.operands)
        return tuple([drop > 0 for drop in self.join.drops]) if self.join else ()

    @property
    def draw(self) -> str:
        """The function that draws the branches that run."""
        return "drop_draw" if self.local is None else "path_draw"

    @property
    def helper(self) -> str:
        """The function that computes a join from the branches that run."""
        name = self.join.spec.name if self.join else ""
        return "drop_extern" if ":" in self.target else f"drop_{'sum' if name == 'mean' else name}"

    def constant_count(self) -> int:
        """The number of its constants in its region, without ``kept``."""
        return len(self.region.constants if self.region is not None else self.constants)


class Region(Struct):
    """A region of the net under one prefix, with one input and one output, or the whole net with any number of them."""

    prefix: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    statements: list[Statement]
    constants: list[ConstructorArgument] = field(default_factory=list[ConstructorArgument])
    signature: Signature = ()


def _name(node: Layer | Join) -> str:
    """The path of a node's module. Each use of a shared block has a prefix of its own."""
    shared = node.site.shared
    if shared is None or not node.module:
        return node.name
    first, _, rest = node.module.partition(".")
    return f"{first}@{shared.group}.{rest}"


def _path(name: str, skip: int) -> str:
    return re.sub(r"@\d+", "", name[skip:])


class Regions:
    """Finds the regions of a graph. ``alike`` groups those below the net by structure, innermost first."""

    def __init__(self, graph: JoinGraph) -> None:
        self.graph = graph
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
                self.names[number] = _name(node)
            for o in operands:
                readers[o].append(number)
        self.readers = readers
        self.members: dict[str, list[int]] = defaultdict(list)
        for number, name in self.names.items():
            while "." in name:
                name = name.rpartition(".")[0]
                self.members[name].append(number)
        self.alike: dict[Signature, list[Region]] = {}

    def net(self) -> Region:
        """The whole net."""
        starts, ends = tuple([number for number, _ in self.graph.inputs]), self.operands[self.graph.output[0]]
        return self._region("", list(self.names), (starts, ends))

    def _ends(self, prefix: str) -> _Ends | None:
        """The value that a region reads and the one that it outputs; None if there are several."""
        if re.fullmatch(r"column\d+", prefix.rpartition(".")[2]):
            return None
        inside = set(self.members[prefix])
        reads = {o for n in inside for o in self.operands[n] if o not in inside}
        hands = {n for n in inside if any(r not in inside for r in self.readers[n])}
        return ((reads.pop(),), (hands.pop(),)) if len(reads) == len(hands) == 1 else None

    def _region(self, prefix: str, numbers: Sequence[int], ends: _Ends) -> Region:
        region = Region(prefix, *ends, [])
        skip = len(prefix) + 1 if prefix else 0
        done: dict[str, Region | None] = {}
        for number in numbers:
            child = self._child(prefix, number, done)
            if child is None:
                region.statements.append(self._statement(number, skip))
            elif number == child.outputs[0]:
                path = _path(child.prefix, skip)
                region.statements.append(Statement(number, child.inputs, path, region=child))
        self._sign(region)
        return region

    def _child(self, prefix: str, number: int, done: dict[str, Region | None]) -> Region | None:
        """The region below ``prefix`` that a node belongs to, if any."""
        name = self.names[number]
        parts = name.split(".")
        depth = prefix.count(".") + 1 if prefix else 0
        for i in range(depth + 1, len(parts)):
            path = ".".join(parts[:i])
            if path not in done:
                ends = self._ends(path)
                done[path] = self._region(path, self.members[path], ends) if ends else None
            region = done[path]
            if region is not None:
                return region
        return None

    def _statement(self, number: int, skip: int) -> Statement:
        node = self.graph[number]
        assert isinstance(node, Layer | Join)
        join = node if isinstance(node, Join) else None
        torch = self.graph.construction(number)
        drop_path = self.graph.drop_path
        drawn = drop_path is not None and (drop_path.local > 0 or drop_path.global_ > 0)
        local = drop_path.local if drop_path and drawn and join is not None and join.of_columns else None
        kept = self._kept(number, join) if join is not None and (join.drops or local is not None) else ()
        if torch is None:
            return Statement(number, self.operands[number], join=join, kept=kept, local=local)
        kind = re.sub(r"(Transpose)?\d?d?$", "", torch.target.rpartition(".")[2])
        known = _ARGUMENTS.get(kind, ())
        constants = [
            ConstructorArgument(v, known[i] if i < len(known) else f"argument{i + 1}") for i, v in enumerate(torch.args)
        ]
        constants += [ConstructorArgument(v, k) for k, v in torch.kwargs]
        keywords = tuple([k for k, _ in torch.kwargs])
        path = _path(self.names[number], skip)
        operands, given = self.operands[number], tuple(constants)
        return Statement(number, operands, path, torch.target, given, keywords, join=join, kept=kept, local=local)

    def _kept(self, number: int, join: Join) -> tuple[tuple[str, tuple[ConstructorArgument, ...]], ...]:
        drops = ("drops", tuple([ConstructorArgument(drop, "drop") for drop in join.drops]))
        if join.of_columns:
            drops = ("choices", tuple([ConstructorArgument(choice, "choice") for choice in join.choice]))
        if join.spec.name != "concat":
            return (drops,)
        dim = join.args["dim"]
        assert isinstance(dim, int)
        axis = dim - 1 if dim > 0 else dim
        sizes = [self.graph[o].out.shape[axis] for o in self.graph.operands(number)]
        return drops, ("sizes", tuple([ConstructorArgument(size, "size") for size in sizes]))

    def _sign(self, region: Region) -> None:
        """Set the signature of a region, its structure without constants, and collect the constants."""
        place = {number: -i for i, number in enumerate(region.inputs)}
        place |= {s.result: i for i, s in enumerate(region.statements, 1)}
        signature: list[Signature] = []
        for s in region.statements:
            reads = tuple([place[o] for o in s.operands])
            if s.region is not None:
                signature.append((s.path, reads, s.region.signature))
                region.constants += s.region.constants
            elif not s.target:
                assert s.join is not None
                signature.append(("join", s.join.spec.name, tuple(s.join.args.items()), reads))
            else:
                signature.append((s.path, s.target, len(s.constants), s.keywords, reads))
                region.constants += s.constants
            for name, values in s.kept:
                signature.append((name, tuple([bool(v.value) for v in values])))
                region.constants += values
        name = _path(region.prefix, 0).rpartition(".")[2].rstrip("0123456789_")
        region.signature = (name or "net", tuple(signature))
        if region.prefix:
            self.alike.setdefault(region.signature, []).append(region)
