"""Program to join graph: expansion exactly as the recurrence reads, with two-input joins.

A bundle stays open while it is built, as a binary tree of columns. Closing it emits a two-input join for each inner
node of the tree. The label None marks an operand that is itself such a join; ``passes.collapse_joins`` merges them.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl.graph.graph import Input, Join, JoinGraph, Layer, Output, SharedIn, Site, Tag
from fractal_dsl.ops import LAYERS, Tensor
from fractal_dsl.program import program as p
from fractal_dsl.program.columns import Label


class _Column(Struct, frozen=True):
    """A column of an open bundle: the node at its end, and its level; None is the level of the enclosing rule."""

    node: int
    level: int | None = None


class _Pair(Struct, frozen=True):
    left: _Tree
    right: _Tree


_Tree = _Column | _Pair


class _ValueNode(Struct, frozen=True):
    """The node of a value, and the one that its body reads."""

    node: int
    input: int


_SEVERAL = -1
"""What flows into the body of a net with several inputs."""


class _Surroundings(Site, frozen=True):
    """The surroundings of a term: what the sites of its nodes take over, and ``placed``: a rule places the term.

    ``shared.place`` is the number of the first node in the shared block.
    """

    placed: bool = False
    instances: tuple[p.Instance, ...] = ()


def program_to_graph(program: p.Program) -> JoinGraph:
    """Expand a program, which ``program_to_summary`` has checked, to a raw graph (paper, section 3)."""
    return _Expander(program).expand()


class _Expander:
    def __init__(self, program: p.Program) -> None:
        self.program = program
        self.graph = JoinGraph(program.net, program.sources, "raw", program.drop_path, program.init)
        self.blocks = self.bases = self.groups = self.regions = self.tags = 0
        self.shared: dict[int, int] = {}
        self.outs: dict[tuple[int, Tensor], Tensor] = {}  # output shapes of layers, by term and input shape
        self.tensors: dict[Tensor, Tensor] = {}
        self.values: dict[int, _ValueNode] = {}  # of the bodies around the present term

    def expand(self) -> JoinGraph:
        program, graph = self.program, self.graph
        starts = [graph.add(Input(self._one(one.tensor), one.name, one.span)) for one in program.inputs]
        x = starts[0] if len(starts) == 1 else _SEVERAL
        for one, start in zip(program.inputs, starts, strict=True):
            self.values[one.key] = _ValueNode(start, x)
        ends = self._ends(program.body, x, _Surroundings(program.body.span, (f"net {program.net}",)))
        outs, outputs = tuple([graph[end].out for end in ends]), program.outputs
        graph.add(Output(outs, tuple([one.name for one in outputs]), tuple([one.span for one in outputs])), ends)
        return graph

    def _ends(self, term: p.Term, x: int, at: _Surroundings) -> list[int]:
        """The nodes of the outputs of a net's body, each a node of its own."""
        match term:
            case p.Where():
                self._bind(term, x, at)
                return self._ends(term.body, x, at)
            case p.Outputs():
                ends: list[int] = []
                for item in term.items:
                    end = self.closed(item, x, at)
                    ends.append(self._identity(end, item.span, at) if end in ends else end)
                return ends
            case _:
                return [self.closed(term, x, at)]

    def _bind(self, term: p.Where, x: int, at: _Surroundings) -> None:
        """Add the values of a body."""
        for value in term.values:
            self.values[value.key] = _ValueNode(self.closed(value.block, x, at), x)

    def closed(self, term: p.Term, x: int, at: _Surroundings) -> int:
        """The node at the end of a term. The join of its rule closes an open bundle."""
        tree = self.open(term, x, at)
        if isinstance(tree, _Column):
            return tree.node
        return self._close(tree, p.closing(term, at.instances), at)

    def open(self, term: p.Term, x: int, at: _Surroundings) -> _Tree:
        match term:
            case p.Op():
                return _Column(self._op(term, x, at))
            case p.Seq():
                for item in term.items[:-1]:
                    x = self.closed(item, x, at)
                return self.open(term.items[-1], x, at) if term.items else _Column(x)
            case p.Bundle():
                columns = [self._distinct(c, x, at) for c in term.columns]
                tree = columns[0]
                for column in columns[1:]:
                    tree = _Pair(tree, column)
                return tree
            case p.Mention() | p.Each():
                tree, instance, inner = self._bundle(term, x, at)
                if instance is None or isinstance(tree, _Column):
                    return tree if instance is None else _Column(_leaf(tree).node)
                return _Column(self._close(tree, instance, replace(inner, calls=(term.span, *inner.calls))))
            case p.Merge():
                return _Column(self._merge(term, x, self._base(at)))
            case p.NamedBlock():
                self.groups += 1
                inner = self._base(at)
                groups = (*inner.groups, (term.name, self.groups))
                inner = replace(inner, groups=groups, trail=(term.name, *inner.trail), calls=(term.span, *inner.calls))
                if term.shared:
                    number = self.shared.setdefault(term.owner, len(self.shared) + 1)
                    inner = replace(inner, shared=SharedIn(term.name, number, self.groups, len(self.graph)))
                return _Column(self.closed(term.body, x, inner))
            case p.Tagged():
                return self.open(term.body, x, self._tagged(term, at))
            case p.Where():
                self._bind(term, x, at)
                return self.open(term.body, x, at)
            case p.ValueUse():
                value = self.values[term.key]
                assert value.input == x, "a value is mentioned where another tensor flows in"
                return _Column(value.node)
            case p.Outputs() | p.Hole():
                raise AssertionError("a program with errors is not expanded")

    def _tagged(self, term: p.Tagged, at: _Surroundings) -> _Surroundings:
        if term.annotation == "checkpoint":
            return self._region(None, at)
        self.tags += 1
        tag = Tag(term.value, self.tags, len(at.outer) + bool(at.block) + len(at.groups))
        return replace(at, tags=(*at.tags, tag))

    def _region(self, level: int | None, at: _Surroundings) -> _Surroundings:
        self.regions += 1
        return replace(at, regions=(*at.regions, (level, self.regions)))

    def _base(self, at: _Surroundings) -> _Surroundings:
        """The context of a new base layer, if a rule places it."""
        if not at.placed:
            return at
        self.bases += 1
        return replace(at, placed=False, base=self.bases)

    def _site(self, span: p.Span, at: _Surroundings) -> Site:
        shared = at.shared and replace(at.shared, place=len(self.graph) - at.shared.place)
        return Site(span, at.trail, at.block, at.base, at.groups, at.outer, at.tags, shared, at.regions, at.calls)

    def _op(self, term: p.Op, x: int, at: _Surroundings) -> int:
        into = self.graph[x].out
        if (id(term), into) not in self.outs:
            self.outs[id(term), into] = self._one(term.spec.out(into, term.args))
        if term.spec.name != "id":
            at = self._base(at)
        return self.graph.add(
            Layer(term.spec, term.args, into, self.outs[id(term), into], self._site(term.span, at)), (x,)
        )

    def _one(self, tensor: Tensor) -> Tensor:
        """One object for all equal tensors, so that ``verify`` can compare them by identity."""
        return self.tensors.setdefault(tensor, tensor)

    def _distinct(self, term: p.Term, x: int, at: _Surroundings) -> _Tree:
        """The columns of an operand. One that adds no node, as it is the bare input or a value, gets a node of its own,
        since a tensor feeds a join only once."""
        known = len(self.graph)
        tree = self.open(term, x, at)
        if isinstance(tree, _Column) and tree.node < known:
            return _Column(self._identity(tree.node, term.span, at), tree.level)
        return tree

    def _identity(self, x: int, span: p.Span, at: _Surroundings) -> int:
        out = self.graph[x].out
        return self.graph.add(Layer(LAYERS["id"], {}, out, out, self._site(span, at)), (x,))

    def _bundle(self, term: p.Term, x: int, at: _Surroundings) -> tuple[_Tree, p.Instance | None, _Surroundings]:
        """The open columns of a mention or an ``each``, and the instance that closes them, if any, with its context."""
        match term:
            case p.Mention():
                instance = term.instance
                if at.block == 0:
                    self.blocks += 1
                    at = replace(at, block=self.blocks, groups=(), outer=at.groups)
                level = instance.level
                inner = replace(
                    at,
                    placed=True,
                    trail=(str(instance), *at.trail),
                    instances=(*at.instances, instance),
                    calls=(term.span, *at.calls),
                )
                inner = self._region(level, inner)
                tree = _map(
                    self.open(instance.body, x, inner), lambda c: _Column(c.node, level) if c.level is None else c
                )
                return tree, None if term.inside else instance, at
            case p.Each():
                tree, instance, inner = self._bundle(term.target, x, at)
                block_at = replace(inner, placed=at.placed)
                tree = _map(tree, lambda c: _Column(self.closed(term.block, c.node, block_at), c.level))
                return tree, instance, inner
            case p.Tagged():
                return self._bundle(term.body, x, self._tagged(term, at))
            case _:
                return self.open(term, x, at), None, at

    def _close(self, tree: _Pair, instance: p.Instance, at: _Surroundings) -> int:
        join = instance.join
        assert join is not None
        at = replace(at, trail=(str(instance), *at.trail), placed=False)

        def emit(tree: _Tree) -> int:
            if isinstance(tree, _Column):
                return tree.node
            parts = [tree.left, tree.right] if join.spec.pairs else _columns(tree)
            operands = [emit(t) for t in parts]
            labels = tuple([_label(t, instance) for t in parts])
            out = self._one(join.spec.out(tuple([self.graph[o].out for o in operands]), join.args))
            node = Join(join.spec, join.args, out, self._site(join.span, at), instance.rule, labels)
            return self.graph.add(node, operands)

        end = emit(tree)
        return self.closed(join.after, end, at) if join.after is not None else end

    def _merge(self, term: p.Merge, x: int, at: _Surroundings) -> int:
        ends: list[int] = []
        for branch in term.branches:
            known = len(self.graph)
            end = self.closed(branch, x, at)
            ends.append(self._identity(end, branch.span, at) if end < known else end)
        join = term.join
        end = ends[0]
        if len(ends) > 1:
            out = self._one(join.spec.out(tuple([self.graph[e].out for e in ends]), join.args))
            node = Join(join.spec, join.args, out, self._site(term.span, at), None, drops=term.drops)
            end = self.graph.add(node, ends)
        return self.closed(join.after, end, at) if join.after is not None else end


def _label(tree: _Tree, instance: p.Instance) -> Label | None:
    """The label of a join's operand. ``collapse_joins`` numbers the operands of one level."""
    if isinstance(tree, _Pair):
        return None
    return (instance.level if tree.level is None else tree.level, 0)


def _columns(tree: _Tree) -> list[_Tree]:
    return [tree] if isinstance(tree, _Column) else _columns(tree.left) + _columns(tree.right)


def _leaf(tree: _Tree) -> _Column:
    assert isinstance(tree, _Column)
    return tree


def _map(tree: _Tree, f: Callable[[_Column], _Tree]) -> _Tree:
    if isinstance(tree, _Column):
        return f(tree)
    return _Pair(_map(tree.left, f), _map(tree.right, f))
