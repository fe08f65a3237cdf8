"""The join graph: the expansion of a program, before and after collapse.

A networkx DiGraph whose nodes are integers in topological order, each with a typed payload. The operands of a node are
its predecessors, in the order of the edges' ``slot``. A tensor never feeds one node twice: a branch without layers is
an ``id``, which is a node of its own. Shapes leave the batch out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from msgspec import Struct, field

from fractal_dsl.base.errors import UserError
from fractal_dsl.language.source import Sources, Span
from fractal_dsl.ops import Args, JoinSpec, OpSpec, Tensor, TorchModule
from fractal_dsl.program.columns import Label
from fractal_dsl.program.program import DropPath, Init, only

if TYPE_CHECKING:
    import networkx as nx


class SharedIn(Struct, frozen=True):
    """The shared block that a node is in.

    ``name`` and ``number`` are the block's, ``group`` is the number of this use of it (as in ``Site.groups``), and
    ``place`` is the node's position in it. Nodes at the same place of the same block share their weights.
    """

    name: str
    number: int
    group: int
    place: int


class Tag(Struct, frozen=True):
    """One ``@tag`` around a node. ``number`` is unique; ``depth`` counts the calls, and the block, around the tag."""

    text: str
    number: int
    depth: int


class Site(Struct, frozen=True):
    """The origin of a node in the program.

    ``span`` is its place in the text, and ``trail`` names what is around it, from the inside out.
    ``block`` is the number of the rule's use in the net, from 1; 0 is outside all of them.
    ``base`` is the number of the base layer; None if no rule places the node.
    ``groups`` are the calls of user layers around the node and within the block, outermost first, each with a number
    of its own. ``outer`` are those around the block, and ``tags`` the tags around the node, outermost first.
    ``shared`` is the innermost shared block around the node.
    ``regions`` are the parts that can be recomputed as a whole, outermost first, each with a number of its own: uses
    of rules with their level, and blocks with ``@checkpoint``, for which the level is None.
    ``calls`` are the places in the text of the calls of layers and rules around the node, from the inside out.
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
    calls: tuple[Span, ...] = ()


class Input(Struct, frozen=True):
    """The network's input: ``out`` is its shape and element type, ``span`` the place of its declaration."""

    out: Tensor
    name: str
    span: Span


class Layer(Struct, frozen=True):
    """One layer, from shape ``into`` to shape ``out``. ``columns`` is the bit mask of its columns: bit k-1 is column k.

    ``module`` is the name of the module with its weights: its own name, or the common name of all nodes that share
    the weights.
    """

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
    """A join, with output shape ``out``. A join written in place has no rule and no labels: drop-path ignores it.

    ``labels`` name the columns of the operands. Before ``collapse_joins``, None marks an operand that is a join to be
    merged with this one. ``choice[k-1]`` is the operand that column k takes, after ``assign_columns``.
    ``module`` is as in ``Layer``, for joins with weights. ``drops`` are, for an inline join, the probabilities that a
    training step leaves out its branches, or empty if all are 0.
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
    drops: tuple[float, ...] = ()

    @property
    def of_columns(self) -> bool:
        """Whether it merges the columns of a rule, which drop-path may drop."""
        return self.rule is not None


class Output(Struct, frozen=True):
    """The network's outputs, which are its operands, in order. ``spans`` are the places of their declarations."""

    outs: tuple[Tensor, ...]
    names: tuple[str, ...]
    spans: tuple[Span, ...]

    @property
    def out(self) -> Tensor:
        """The shape and element type of the output. Raises UserError if there are several."""
        return only("the net", "outputs", self.outs)


Node = Input | Layer | Join | Output


GraphStage = Literal["raw", "collapsed", "labelled", "selected", "column"]
"""The stage of a graph; ``verify`` lists the invariants of each."""


def _empty() -> nx.DiGraph[int]:
    import networkx as nx  # takes longer to load than a `check` takes

    return nx.DiGraph()


class JoinGraph(Struct):
    """A net as a graph. ``columns`` holds the column labels, shallowest first, once they are assigned."""

    net: str
    sources: Sources
    stage: GraphStage = "raw"
    drop_path: DropPath | None = None
    init: Init = Init()
    columns: tuple[Label, ...] = ()
    g: nx.DiGraph[int] = field(default_factory=_empty)

    def without_nodes(self, stage: GraphStage) -> JoinGraph:
        """A copy at another stage, without its nodes."""
        return JoinGraph(self.net, self.sources, stage, self.drop_path, self.init, self.columns)

    def add(self, node: Node, operands: Sequence[int] = (), *, id: int | None = None) -> int:
        """Add a node after its operands. Return its number: ``id``, or the next free one."""
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

    def broadcasts(self, number: int) -> bool:
        """Whether a node is an elementwise join that repeats operands along their axes of size 1."""
        node = self[number]
        elementwise = isinstance(node, Join) and node.spec.torch is None and node.spec.name != "concat"
        return elementwise and any(self[o].out.shape != node.out.shape for o in self.reads[number])

    def construction(self, number: int) -> TorchModule | None:
        """The class and arguments of a node's module; None for a node without one."""
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
    def inputs(self) -> list[tuple[int, Input]]:
        """The input nodes, in order."""
        return [(i, n) for i, n in self.items() if isinstance(n, Input)]

    @property
    def input(self) -> tuple[int, Input]:
        """The input node. Raises UserError if there are several."""
        return only(f"net {self.net}", "inputs", self.inputs)

    @property
    def output(self) -> tuple[int, Output]:
        """The output node."""
        return next((i, n) for i, n in self.items() if isinstance(n, Output))

    def joins(self) -> list[tuple[int, Join]]:
        """The joins that drop-path acts on, with their numbers, in topological order."""
        return [(i, n) for i, n in self.items() if isinstance(n, Join) and n.of_columns]

    def dropping(self) -> list[tuple[int, Join]]:
        """The inline joins with branches that training may leave out, with their numbers, in topological order."""
        return [(i, n) for i, n in self.items() if isinstance(n, Join) and n.drops]

    @property
    def n_columns(self) -> int:
        """The number of columns. Column 1 is the shallowest. A net without joins is one column."""
        return max(1, len(self.columns))

    def check_column(self, k: int) -> None:
        """Raise UserError if there is no column k."""
        if not 1 <= k <= self.n_columns:
            raise no_column(self.net, k, self.n_columns)

    def needed(self, live: Mapping[int, Sequence[int]] | None = None) -> set[int]:
        """The numbers of the nodes that the output needs.

        ``live`` maps a node that reads only some of its operands to those operands.
        """
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
                    text += f" drop {' '.join(map(str, node.drops))}" if node.drops else ""
                case Output():
                    text = "output"
            feeds = " ".join(f"%{p}" for p in self.operands(number))
            name = f"  # {node.name}" if isinstance(node, Layer | Join) and node.name else ""
            if isinstance(node, Layer | Join) and node.module != node.name:
                name += f", weights of {node.module}"
            outs = ", ".join(map(str, node.outs)) if isinstance(node, Output) else node.out
            lines.append(f"%{number} = {text} {feeds} -> {outs}{name}".replace("  ->", " ->"))
        return "\n".join(lines) + "\n"


def no_column(net: str, k: int, columns: int) -> UserError:
    """The error for a column that a net does not have."""
    return UserError(f"there is no column {k}: net {net} has columns 1 to {columns}")
