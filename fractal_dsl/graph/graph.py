"""The join graph: the expansion of a program, before and after collapse.

A networkx DiGraph whose nodes are integers in topological order, each with a typed payload. Operands
of a node are its predecessors in the order of the edges' ``slot``. One tensor never feeds a node twice:
the language writes such an operand as ``id``, which is a node of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import networkx as nx
from msgspec import Struct, field

from fractal_dsl.base.errors import UserError
from fractal_dsl.language.source import Sources, Span
from fractal_dsl.ops import Args, JoinSpec, OpSpec, Tensor, TorchModule
from fractal_dsl.program.columns import Label
from fractal_dsl.program.program import DropPath


class SharedIn(Struct, frozen=True):
    """The shared block that a node is in: its name and number, the call (as in ``Site.groups``) that is this
    mention of it, and the node's place in it. Nodes of one block and place have one set of weights."""

    name: str
    number: int
    group: int
    place: int


class Tag(Struct, frozen=True):
    """One ``@tag`` around a node, with a number of its own; ``depth`` counts the calls, and the block, around it."""

    text: str
    number: int
    depth: int


class Site(Struct, frozen=True):
    """The origin of a node in the program.

    ``block`` counts the rule mentions of the net from 1 (0: outside all); ``base`` tells one base layer
    from another (None: placed by no rule); ``groups`` names the calls of user layers around the node and
    within the block, outermost first, each with a number of its own, ``outer`` those around the block;
    ``tags`` are the tags around the node, outermost first;
    ``shared`` is the innermost shared block around; ``trail`` reads from the inside out. ``regions`` are the parts
    that can be recomputed as a whole, outermost first: rule mentions, with their level, and what ``@checkpoint``
    marks, with None, each with a number of its own.
    """

    span: Span
    trail: tuple[str, ...]
    block: int = 0
    base: int | None = None
    groups: tuple[tuple[str, int], ...] = ()
    outer: tuple[tuple[str, int], ...] = ()
    tags: tuple[Tag, ...] = ()
    shared: SharedIn | None = None
    regions: tuple[tuple[int | None, int], ...] = ()


class Input(Struct, frozen=True):
    """The network's input."""

    out: Tensor
    name: str


class Layer(Struct, frozen=True):
    """One layer. ``columns`` is the bit mask of its columns (bit k-1: column k).

    ``module`` is the name of the module with its weights: its own name, or the common name of all nodes that share
    them."""

    spec: OpSpec
    args: Args
    into: Tensor
    out: Tensor
    site: Site
    name: str = ""
    columns: int = 0
    module: str = ""

    @property
    def idle(self) -> bool:
        """Whether its output is its input: ``id``, and a dropout with probability 0."""
        return self.spec.name == "id" or (self.spec.family == "dropout" and not self.args["p"])


class Join(Struct, frozen=True):
    """A join. ``rule`` is None for a join on the spot, which drop-path leaves alone and which has no labels.

    ``labels`` name the columns of the operands; None marks one that is a join to be merged with this one
    (before ``collapse_joins``). ``choice[k-1]`` is the operand that column k takes (after ``assign_columns``).
    ``module`` is as a layer's; it counts where the join has weights.
    """

    spec: JoinSpec
    args: Args
    out: Tensor
    site: Site
    rule: str | None
    labels: tuple[Label | None, ...] = ()
    name: str = ""
    columns: int = 0
    choice: tuple[int, ...] = ()
    module: str = ""

    @property
    def droppable(self) -> bool:
        """Whether drop-path may drop operands."""
        return self.rule is not None


class Output(Struct, frozen=True):
    """The network's output."""

    out: Tensor


Node = Input | Layer | Join | Output


Stage = Literal["raw", "collapsed", "labelled", "selected", "column"]
"""The stage of a graph; ``verify`` lists the invariants of each."""


def _empty() -> nx.DiGraph[int]:
    return nx.DiGraph()


class JoinGraph(Struct):
    """A net as a graph. ``columns`` holds the column labels, shallowest first, once they are assigned."""

    net: str
    sources: Sources
    stage: Stage = "raw"
    drop_path: DropPath | None = None
    init: str = "default"
    columns: tuple[Label, ...] = ()
    g: nx.DiGraph[int] = field(default_factory=_empty)

    def without_nodes(self, stage: Stage) -> JoinGraph:
        """An empty graph that is otherwise like this one, at another stage."""
        return JoinGraph(self.net, self.sources, stage, self.drop_path, self.init, self.columns)

    def add(self, node: Node, operands: Sequence[int] = (), *, id: int | None = None) -> int:
        """Add a node after its operands and return its number."""
        number = self.g.number_of_nodes() if id is None else id
        self.g.add_node(number, node=node)
        for slot, operand in enumerate(operands):
            self.g.add_edge(operand, number, slot=slot)
        return number

    def extend(self, nodes: Iterable[tuple[int, Node, Sequence[int]]]) -> None:
        """Add many nodes at once: their numbers, payloads and operands."""
        nodes = list(nodes)
        self.g.add_nodes_from([(number, {"node": node}) for number, node, _ in nodes])
        edges = [(o, number, {"slot": i}) for number, _, operands in nodes for i, o in enumerate(operands)]
        self.g.add_edges_from(edges)

    def __getitem__(self, number: int) -> Node:
        return self.g.nodes[number]["node"]

    def __len__(self) -> int:
        return self.g.number_of_nodes()

    def items(self) -> Iterator[tuple[int, Node]]:
        """Numbers and payloads in topological order."""
        return iter(cast(Iterable[tuple[int, Node]], self.g.nodes(data="node")))

    @property
    def reads(self) -> dict[int, dict[int, dict[str, int]]]:
        """The operands of each node, in order, with the edges from them.

        These are networkx's own dictionaries, to be read only: its views of them take ten times as long.
        """
        return cast(Any, self.g)._pred

    def operands(self, number: int) -> list[int]:
        """The nodes that feed a node, in the order of its operands."""
        return [*self.reads[number]]

    def construction(self, number: int) -> TorchModule | None:
        """What the module of a node is constructed by; None for a node without one."""
        match self[number]:
            case Layer() as node if node.spec.name != "id":
                return node.spec.torch(node.into, node.args)
            case Join() as node if node.spec.torch is not None:
                return node.spec.torch(len(self.operands(number)), node.args)
            case _:
                return None

    def consumers(self, number: int) -> list[int]:
        """The nodes that a node feeds."""
        return list(self.g.succ[number])

    @property
    def input(self) -> tuple[int, Input]:
        """The input node."""
        return next((i, n) for i, n in self.items() if isinstance(n, Input))

    @property
    def output(self) -> tuple[int, Output]:
        """The output node."""
        return next((i, n) for i, n in self.items() if isinstance(n, Output))

    def joins(self) -> list[tuple[int, Join]]:
        """The joins that drop-path works on, in topological order."""
        return [(i, n) for i, n in self.items() if isinstance(n, Join) and n.droppable]

    @property
    def n_columns(self) -> int:
        """The number of columns, counted from 1, the shallowest. A net without joins is one column."""
        return max(1, len(self.columns))

    def check_column(self, k: int) -> None:
        """Raise UserError if there is no column k."""
        if not 1 <= k <= self.n_columns:
            raise no_column(self.net, k, self.n_columns)

    def needed(self, live: Mapping[int, Sequence[int]] | None = None) -> set[int]:
        """The nodes that the output needs, by a walk back from it. ``live`` maps nodes that read only some of their
        operands to those operands."""
        reads: Mapping[int, Iterable[int]] = self.reads if live is None else {**self.reads, **live}
        needed = {self.output[0]}
        for number in reversed(self.reads):
            if number in needed:
                needed.update(reads[number])
        return needed

    def dump(self) -> str:
        """The graph as text, one line per node."""
        lines = [f"{self.stage} graph of {self.net}: {len(self)} nodes"]
        for number, node in self.items():
            match node:
                case Input():
                    text = f"input {node.name}"
                case Layer():
                    given = ", ".join(f"{k}={v}" for k, v in node.args.items())
                    text = f"{node.spec.name}({given})"
                case Join():
                    tags = " ".join("open" if label is None else str(label[0]) for label in node.labels)
                    given = ", ".join(f"{k}={v}" for k, v in node.args.items())
                    text = f"join {node.spec.name}" + (f"({given})" if given else "")
                    text += f" of {node.rule} levels {tags}" if node.rule else ""
                case Output():
                    text = "output"
            feeds = " ".join(f"%{p}" for p in self.operands(number))
            name = f"  # {node.name}" if isinstance(node, Layer | Join) and node.name else ""
            if isinstance(node, Layer | Join) and node.module != node.name:
                name += f", weights of {node.module}"
            lines.append(f"%{number} = {text} {feeds} -> {node.out}{name}".replace("  ->", " ->"))
        return "\n".join(lines) + "\n"


def no_column(net: str, k: int, columns: int) -> UserError:
    """The error for a column that a net does not have."""
    return UserError(f"there is no column {k}: net {net} has columns 1 to {columns}")
