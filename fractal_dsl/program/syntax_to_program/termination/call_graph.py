"""The graph of calls between rules: its cycles, and those around which the level does not decrease."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.program.syntax_to_program.limits import MAX_WORK


class Edge(Struct, frozen=True):
    """A call in a case, from a rule to a rule, which changes the level by ``change``."""

    start: s.RuleDecl
    case: s.Case
    end: s.RuleDecl
    change: int
    span: Span
    via: tuple[str, ...]


def components(edges: Sequence[Edge]) -> list[list[Edge]]:
    """The edges within each strongly connected component: Tarjan's algorithm."""
    component = _component_of(edges)
    within: dict[int, list[Edge]] = {}
    for edge in edges:
        if component[id(edge.start)] == component[id(edge.end)]:
            within.setdefault(component[id(edge.start)], []).append(edge)
    return list(within.values())


def _component_of(edges: Sequence[Edge]) -> dict[int, int]:
    """The component of each rule, named by its first rule."""
    out: dict[int, list[Edge]] = {}
    for edge in edges:
        out.setdefault(id(edge.start), []).append(edge)
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    component: dict[int, int] = {}
    stack: list[int] = []

    def visit(node: int) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for edge in out.get(node, ()):
            end = id(edge.end)
            if end not in order:
                visit(end)
                low[node] = min(low[node], low[end])
            elif end not in component:
                low[node] = min(low[node], order[end])
        while low[node] == order[node] and node not in component:
            component[stack.pop()] = node

    for node in out:
        if node not in order:
            visit(node)
    return component


def rising_cycle(edges: Sequence[Edge]) -> list[Edge]:
    """A cycle whose changes add up to 0 or more, if there is one, by the Bellman-Ford algorithm.

    Each change is weighted as (nodes + 1) * change + 1, so that a cycle of sum 0 has a positive weight.
    """
    scale = len({id(e.start) for e in edges}) + 1
    distance = {id(rule): 0 for e in edges for rule in (e.start, e.end)}
    into: dict[int, Edge] = {}
    for _ in range(min(scale, 1 + MAX_WORK // (len(edges) + 1))):
        moved = False
        for edge in edges:
            far = distance[id(edge.start)] + edge.change * scale + 1
            if far > distance[id(edge.end)]:
                distance[id(edge.end)], into[id(edge.end)], moved = far, edge, True
        if not moved:
            return []
        if cycle := _closed(into):
            return cycle
    return []


def _closed(into: Mapping[int, Edge]) -> list[Edge]:
    """A cycle among the predecessor edges, if there is one."""
    seen: dict[int, int] = {}
    for walk, first in enumerate(into):
        node = first
        while node in into and node not in seen:
            seen[node] = walk
            node = id(into[node].start)
        if seen.get(node) == walk and node in into:
            cycle, at = [into[node]], id(into[node].start)
            while at != node:
                cycle.append(into[at])
                at = id(into[at].start)
            return cycle[::-1]
    return []


def head(rule: s.RuleDecl, var: str, offset: int) -> str:
    """A rule at a level relative to a variable, for messages: ``F[n+1]``."""
    return f"{rule.name.id}[{var}{f'{offset:+}' if offset else ''}]"
