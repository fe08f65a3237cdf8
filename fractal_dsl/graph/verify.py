"""The invariants of join graphs, checked after each pass.

At every stage a graph has inputs and one node with its outputs, operands come before their readers and in the order of
their slots, and shapes follow from the rules of layers and joins. Each stage adds to that:

    raw          every node but the output is read; an inline join with branches to leave out has a probability
                 below 1 for each of them, which no join of a rule has
    collapsed    the same; no join has an open operand, and the operands of one join have distinct labels
    labelled     the same; names are distinct, each join knows the operand of each column, a node is in the columns that
                 need it, and nodes that share weights construct the same module
    selected     no joins of rules, columns or drop-path are left; names are distinct; nodes may be dead
    column       the same; every node but the output is read
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from fractal_dsl.graph.graph import Input, Join, JoinGraph, Layer, Node, Output
from fractal_dsl.ops import OpSpec, ShapeError, Tensor

_Nodes = Mapping[int, Node]


class BrokenGraph(Exception):
    """An internal error: a graph breaks an invariant of its stage."""


def verify(graph: JoinGraph) -> None:
    """Check a graph in linear time.

    Raises BrokenGraph, which names the invariant and the node that breaks it.
    """
    nodes = dict(graph.items())
    _check_ends(graph, nodes)
    _check_operands(graph, nodes)
    if graph.stage in ("raw", "collapsed"):
        return
    _check_names(graph, nodes)
    if graph.stage == "labelled":
        _check_columns(graph, nodes)
    elif graph.columns or graph.drop_path or graph.joins():
        raise BrokenGraph("a column by itself has no columns, no drop-path and no joins of rules")


def _check_ends(graph: JoinGraph, nodes: _Nodes) -> None:
    kinds = Counter(map(type, nodes.values()))
    if not kinds[Input] or kinds[Output] != 1:
        raise BrokenGraph(f"a graph has inputs and one output node, not {kinds[Input]} and {kinds[Output]}")
    for number, readers in graph.g.adjacency():
        if not readers and type(nodes[number]) is not Output and graph.stage != "selected":
            raise _broken(nodes, number, "nothing reads it")


def _check_operands(graph: JoinGraph, nodes: _Nodes) -> None:
    """Order, slots, shapes and labels, in one loop: reading a node from memory takes longer than checking it."""
    checked: dict[int, tuple[OpSpec, Tensor, Tensor]] = {}
    before = -1
    for number, operands in graph.reads.items():
        node = nodes[number]
        if number <= before:
            raise _broken(nodes, number, f"nodes must be in the order of their numbers, but %{before} comes before it")
        before = number
        if type(node) is Layer and len(operands) == 1:
            # most layers have the rule, arguments and shapes of an earlier layer: then the rule need not run again
            known = checked.get(id(node.args))
            if known and known[0] is node.spec and known[1] is node.into and known[2] is node.out:
                [(operand, edge)] = operands.items()
                if operand < number and not edge["slot"] and nodes[operand].out is node.into:
                    continue
            checked[id(node.args)] = node.spec, node.into, node.out
        for slot, (operand, edge) in enumerate(operands.items()):
            if operand >= number:
                raise _broken(nodes, number, f"operands must come before their readers, but %{operand} does not")
            if edge["slot"] != slot:
                raise _broken(nodes, number, f"operand {slot} is in slot {edge['slot']}")
        _check_shape(nodes, number, node, tuple([nodes[o].out for o in operands]))
        if type(node) is Join:
            _check_labels(graph, nodes, number, node)


def _check_shape(nodes: _Nodes, number: int, node: Node, given: tuple[Tensor, ...]) -> None:
    """Apply the shape rule of a node to the shapes of its operands."""
    if type(node) is Output:
        if given != node.outs:
            raise _broken(nodes, number, f"its operands give {', '.join(map(str, given))}")
        return
    fits = len(given) >= 2 if type(node) is Join else len(given) == (type(node) is not Input)
    if not fits:
        raise _broken(nodes, number, f"it has {len(given)} operands")
    if type(node) is Layer and given != (node.into,):
        raise _broken(nodes, number, f"it takes {node.into}, but its operand gives {given[0]}")
    try:
        if type(node) is Join:
            out = node.spec.out(given, node.args)
        else:
            out = node.spec.out(node.into, node.args) if type(node) is Layer else node.out
    except ShapeError as error:
        raise _broken(nodes, number, f"its operands do not fit: {error}") from None
    if out != node.out:
        raise _broken(nodes, number, f"by its rule it gives {out}, not {node.out}")


def _check_labels(graph: JoinGraph, nodes: _Nodes, number: int, join: Join) -> None:
    operands = len(graph.reads[number])
    arity = operands if join.of_columns else 0
    if len(join.labels) != arity:
        raise _broken(nodes, number, f"it has {len(join.labels)} labels for {arity} operands")
    if join.drops:
        if join.of_columns:
            raise _broken(nodes, number, "only inline joins have branches to leave out")
        if len(join.drops) != operands or not any(join.drops) or not all(0 <= drop < 1 for drop in join.drops):
            raise _broken(nodes, number, f"{operands} operands cannot be left out with {join.drops}")
    if graph.stage == "raw":
        return
    distinct = {*join.labels}
    if None in distinct:
        raise _broken(nodes, number, "it has an open operand")
    if len(distinct) != arity:
        raise _broken(nodes, number, "two operands have one label")


def _check_names(graph: JoinGraph, nodes: _Nodes) -> None:
    placed = [(number, node) for number, node in nodes.items() if type(node) is Layer or type(node) is Join]
    names = {node.name: number for number, node in placed}
    first_with: dict[str, int] = {}
    for number, node in placed:
        if names[node.name] != number:
            raise _broken(nodes, number, f"%{names[node.name]} has the same name")
        if node.module != node.name:
            first = first_with.setdefault(node.module, names.get(node.module, number))
            if graph.construction(first) != graph.construction(number):
                raise _broken(nodes, number, f"it shares weights with %{first}, another module")


def _check_columns(graph: JoinGraph, nodes: _Nodes) -> None:
    """Check choices and masks: a node is in the columns of the readers that need it."""
    columns, reads = graph.n_columns, graph.reads
    needed = dict.fromkeys(nodes, 0)
    for number in reversed(reads):
        node, operands = nodes[number], reads[number]
        mask = (1 << columns) - 1 if type(node) is Output else needed[number]
        if (type(node) is Layer or type(node) is Join) and node.columns != mask:
            raise _broken(nodes, number, f"its columns are {node.columns:b}, but columns {mask:b} need it")
        if type(node) is Join and node.of_columns:
            if len(node.choice) != columns or not {*node.choice} <= {*range(len(operands))}:
                raise _broken(nodes, number, f"{columns} columns cannot choose {node.choice} of {len(operands)}")
            places = [*operands]
            for k, chosen in enumerate(node.choice):
                needed[places[chosen]] |= mask & 1 << k
        else:
            for operand in operands:
                needed[operand] |= mask


def _broken(nodes: _Nodes, number: int, message: str) -> BrokenGraph:
    node = nodes[number]
    name = f" {node.name}" if isinstance(node, Layer | Join | Input) and node.name else ""
    return BrokenGraph(f"%{number}, {type(node).__name__.lower()}{name}: {message}")
