"""Finds the layers that the module tree names: parts of the net that are all of one submodule."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from fractal_dsl.importing.cost import cost
from fractal_dsl.importing.declaring import declared, replaced
from fractal_dsl.importing.generalise import key
from fractal_dsl.importing.naming import Naming, of_class
from fractal_dsl.importing.page import Page, Shared
from fractal_dsl.importing.plain import CONTAINERS, PlainGraph
from fractal_dsl.importing.terms import Call, Chain, Term, children, mapped, mentions_value, nodes

_LONG = 25  # words; a shorter part that occurs once stays where it is


@dataclass(frozen=True)
class _Spot:
    """A slice of a chain that is one submodule."""

    chain: Chain
    start: int
    end: int
    path: str

    @property
    def slice(self) -> Chain:
        return Chain(self.chain.steps[self.start : self.end])


def layers_of_scopes(page: Page, graph: PlainGraph, naming: Naming) -> None:
    """Declare a layer for each class of submodules, from the inner ones to the outer ones."""
    scopes = _scopes(graph)
    words: dict[str, set[str]] = {}
    counts = Counter(cls for _, cls in scopes.values())
    for size in sorted({nodes_.bit_count() for nodes_ in scopes}):
        groups: dict[tuple[str, object], list[_Spot]] = defaultdict(list)
        for spot, cls in _spots(page, {n: s for n, s in scopes.items() if n.bit_count() == size}):
            groups[cls, key(spot.slice)].append(spot)
        for (cls, _), spots in groups.items():
            if len(spots) > 1 or counts[cls] == 1:
                _declare(page, naming, _name(naming, cls, spots[0], words, alone=counts[cls] == 1), spots)


def _scopes(graph: PlainGraph) -> dict[int, tuple[str, str]]:
    """The path and class of each submodule by the steps in it, without containers and the whole net."""
    inside: dict[tuple[str, str], int] = defaultdict(int)
    for number, step in enumerate(graph.steps):
        for scope in step.place.scopes:
            inside[scope.path, scope.cls] |= 1 << number
    whole = (1 << len(graph.steps)) - 1 & ~graph.ends()
    result: dict[int, tuple[str, str]] = {}
    for (path, cls), covered in inside.items():
        if cls not in CONTAINERS and covered != whole and covered.bit_count() > 1:
            result.setdefault(covered, (path, cls))
    return result


def _spots(page: Page, scopes: dict[int, tuple[str, str]]) -> list[tuple[_Spot, str]]:
    result: list[tuple[_Spot, str]] = []
    bits = 0
    for covered in scopes:
        bits |= covered
    named = {id(decl.body) for decl in page.decls if isinstance(decl, Shared)}

    def search(chain: Chain) -> None:
        covered = [nodes(step) for step in chain.steps]
        for start in range(len(covered)):
            union = 0
            for end in range(start, len(covered)):
                if covered[end] & ~bits or mentions_value(chain.steps[end]):
                    break
                union |= covered[end]
                if union in scopes and not (id(chain) in named and end - start + 1 == len(chain.steps)):
                    path, cls = scopes[union]
                    result.append((_Spot(chain, start, end + 1, path), cls))
                    break
        for step in chain.steps:
            if nodes(step) & bits:
                for inner in children(step):
                    search(inner)

    for body in page.bodies():
        search(body)
    return result


def _name(naming: Naming, cls: str, spot: _Spot, words: dict[str, set[str]], *, alone: bool) -> str:
    """A name from a class; of another form of the class, with the submodule that the first form lacks; of the
    only module of a class, from its attribute."""
    inside = naming.words(nodes(spot.slice), spot.path)
    first = words.setdefault(cls, inside)
    more = sorted(inside - first)
    attribute = spot.path
    if alone and attribute.isalpha() and attribute.islower():
        return attribute
    return "_".join([of_class(cls), *more[:1]])


def _declare(page: Page, naming: Naming, name: str, spots: list[_Spot]) -> None:
    instances = [spot.slice for spot in spots]
    if all(len(i.steps) == 1 and isinstance(i.steps[0], Call) for i in instances):
        return
    before = sum(cost(page, i) for i in instances)
    made = declared(page, naming, name, instances, spots[0].path)
    if made is None:
        return
    layer, calls = made
    page.decls.append(layer)
    after = sum(cost(page, c) for c in calls) + cost(page, layer.body) + 3 * len(layer.params) + 3
    if (len(spots) == 1 and before < _LONG) or (len(spots) > 1 and after >= before):
        page.decls.pop()
        return
    replace_spots(page, [(s.chain, s.start, s.end) for s in spots], calls)


def replace_spots(page: Page, spots: list[tuple[Chain, int, int]], calls: list[Call]) -> None:
    """Replace slices of chains, which are known by identity, with calls."""
    by_chain: dict[int, list[tuple[int, int, Call]]] = defaultdict(list)
    for (chain, start, end), call in zip(spots, calls, strict=True):
        if all(start != other for other, _, _ in by_chain[id(chain)]):
            by_chain[id(chain)].append((start, end, call))
    changed: dict[int, Chain] = {}
    for position, body in enumerate(list(page.bodies())):
        new = _changed(body, by_chain)
        if new is not body:
            changed[position] = new
    page.change(changed)


def _changed(chain: Chain, spots: dict[int, list[tuple[int, int, Call]]]) -> Chain:

    steps: tuple[Term, ...] = tuple([mapped(step, lambda inner: _changed(inner, spots)) for step in chain.steps])
    result = Chain(steps)
    return replaced(result, spots[id(chain)]) if id(chain) in spots else result
