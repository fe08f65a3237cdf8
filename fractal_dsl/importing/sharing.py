"""Weights that several steps of a net have in common: as ``shared`` layers, and as ``shared`` blocks of all the steps
between them, such as an encoder that is called twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

from fractal_dsl.importing.naming import Naming, free
from fractal_dsl.importing.page import Page, Shared
from fractal_dsl.importing.plain import PlainGraph
from fractal_dsl.importing.refusal import Refusal
from fractal_dsl.importing.scopes import replace_spots
from fractal_dsl.importing.terms import Bundle, Call, Chain, Term, calls, chain_of, chains, free_values, nodes, rewrite

_Spot = tuple[Chain, int, int]
"""A chain, and the first and the last step of a part of it; the last is left out."""


def shared_layers(graph: PlainGraph) -> tuple[dict[int, str], list[Shared]]:
    """The steps that share their weights with others, by name, and their declarations. Raises Refusal if steps share a
    part of their weights."""
    users: dict[str, list[int]] = defaultdict(list)
    for number, step in enumerate(graph.steps):
        for name in step.tensors.values():
            users[name].append(number)
    names: dict[int, str] = {}
    decls: list[Shared] = []
    for group in users.values():
        if len(group) < 2 or group[0] in names:
            continue
        first = graph.steps[group[0]]
        for number in group[1:]:
            step = graph.steps[number]
            if (step.op, step.args, step.tensors) != (first.op, first.args, first.tensors):
                raise Refusal("it shares some of its weights with another operation, not all of them", step.place)
        name = free(f"shared_{first.op.rstrip('123d')}", [d.name for d in decls])
        names |= dict.fromkeys(group, name)
        decls.append(Shared(name, Chain((Call(first.op, tuple(first.args.items())),))))
    return names, decls


def share_parts(page: Page, graph: PlainGraph, shared: dict[int, str], naming: Naming) -> None:
    """Declare a ``shared`` block for equal parts that share all their weights, the largest first."""
    weights = _Weights(graph, shared)
    while shared and (spots := _largest(page, weights)):
        part = Chain(spots[0][0].steps[spots[0][1] : spots[0][2]])
        name = free(naming.attribute(nodes(part)) or "body", page.names())
        covered = [Chain(chain.steps[start:end]) for chain, start, end in spots]
        replace_spots(page, spots, [Call(name, (), nodes(each)) for each in covered])
        page.decls.append(Shared(name, part))
        _inline(page, part)


class _Weights:
    """Which steps can be in a shared block, and what tells equal steps apart that have other weights."""

    def __init__(self, graph: PlainGraph, shared: dict[int, str]) -> None:
        self.own = sum(1 << n for n, step in enumerate(graph.steps) if step.tensors and n not in shared)
        self.of_joins = {1 << n: shared[n] for n, step in enumerate(graph.steps) if n in shared and not step.is_layer}

    def key(self, step: Term) -> tuple[Term, frozenset[str]] | None:
        """The step and the weights of its joins; None if it has weights that are not shared, or mentions a value that
        is bound around it."""
        covered = nodes(step)
        if isinstance(step, Bundle) or covered & self.own or free_values(Chain((step,))):
            return None
        return step, frozenset(name for bit, name in self.of_joins.items() if covered & bit)


def _largest(page: Page, weights: _Weights) -> list[_Spot]:
    """The places of the part with the most layers that several places have in common; none if there is none."""
    names = {decl.name for decl in page.decls if isinstance(decl, Shared)}
    places: dict[object, list[_Spot]] = defaultdict(list)
    for body in page.bodies():
        for chain in chains(body):
            for at, step in enumerate(chain.steps):
                key = weights.key(step)
                if key is not None and any(call.name in names for call in calls(Chain((step,)))):
                    places[key].append((chain, at, at + 1))
    best: list[_Spot] = []
    for spots in places.values():
        spots = _extended(spots, weights) if len(spots) > 1 else []
        if spots and not _is_call(spots[0]) and (not best or _size(spots[0]) > _size(best[0])):
            best = spots
    return best


def _extended(spots: list[_Spot], weights: _Weights) -> list[_Spot]:
    """The places with all steps before and behind them that are equal, too, and do not overlap."""
    for before, after in ((0, 1), (1, 0)):
        while True:
            wider = [(chain, start - before, end + after) for chain, start, end in spots]
            if any(start < 0 or end > len(chain.steps) for chain, start, end in wider):
                break
            if any(a[0] is b[0] and a[2] > b[1] for a, b in pairwise(wider)):
                break
            added = {weights.key(chain.steps[start if before else end - 1]) for chain, start, end in wider}
            if len(added) > 1 or None in added:
                break
            spots = wider
    return spots


def _is_call(spot: _Spot) -> bool:
    chain, start, end = spot
    return end - start == 1 and isinstance(chain.steps[start], Call)


def _size(spot: _Spot) -> int:
    chain, start, end = spot
    return nodes(Chain(chain.steps[start:end])).bit_count()


def _inline(page: Page, part: Chain) -> None:
    """Write the shared layers of a part in their places, if it has their only use."""
    uses = Counter(_names(page))
    once = {d.name: d for d in page.decls if isinstance(d, Shared) and uses[d.name] == 1}
    inside = {call.name for call in calls(part)}

    def change(chain: Chain) -> Chain:
        steps: list[Term] = []
        for step in chain.steps:
            decl = once.get(step.name) if isinstance(step, Call) and step.name in inside else None
            steps.append(_covering(decl.body, nodes(step)) if decl is not None else step)
        return chain_of(*steps)

    page.change({i: rewrite(body, change) for i, body in enumerate(list(page.bodies()))})
    page.decls = [d for d in page.decls if d.name not in once or d.name not in inside]


def _covering(body: Chain, covered: int) -> Chain:
    """The body of a shared layer in the place of its use, whose steps it covers."""
    (call,) = body.steps
    return Chain((Call(call.name, call.args, covered),)) if isinstance(call, Call) and not call.nodes else body


def _names(page: Page) -> Iterator[str]:
    for body in page.bodies():
        yield from (call.name for call in calls(body))
