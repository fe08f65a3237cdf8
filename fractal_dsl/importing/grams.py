"""Finds the layers that nobody named: short sequences of layers that occur in several places."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from fractal_dsl.importing.cost import cost
from fractal_dsl.importing.declaring import declared
from fractal_dsl.importing.generalise import key
from fractal_dsl.importing.naming import Naming, of_steps
from fractal_dsl.importing.page import Layer, Page
from fractal_dsl.importing.scopes import replace_spots
from fractal_dsl.importing.terms import Call, Chain, Term, calls, chains, mentions_value, nodes
from fractal_dsl.ops import LAYERS

_Spots = list[tuple[Chain, int, int]]
_MOST = 6  # steps
_GAIN = 4  # words that a layer must save
_LARGE = 20  # the same for any steps


def layers_of_grams(page: Page, naming: Naming, *, any_step: bool = False) -> None:
    """Declare layers for sequences as long as that makes the page shorter. ``any_step`` includes joins, repetitions and
    calls of declared layers."""
    while True:
        best: tuple[int, int, Layer, _Spots, list[Call]] | None = None
        for spots in _candidates(page, any_step):
            made = _tried(page, naming, spots, _LARGE if any_step else _GAIN)
            if made is not None and (best is None or made[:2] > best[:2]):
                best = made
        if best is None:
            return
        _, _, layer, spots, made_calls = best
        page.decls.append(layer)
        replace_spots(page, spots, made_calls)


def _candidates(page: Page, any_step: bool) -> list[_Spots]:
    """The places of each sequence that occurs twice or more, without overlaps."""
    places: dict[Any, _Spots] = defaultdict(list)
    for body in page.bodies():
        for chain in chains(body):
            keys = [key(step) if _takes(step, any_step) else None for step in chain.steps]
            for start in range(len(keys)):
                for end in range(start + 1, min(len(keys), start + _MOST) + 1):
                    if keys[end - 1] is None:
                        break
                    if end - start == 1 and isinstance(chain.steps[start], Call):
                        continue
                    spots = places[tuple(keys[start:end])]
                    if not spots or spots[-1][0] is not chain or spots[-1][2] <= start:
                        spots.append((chain, start, end))
    return [spots for spots in places.values() if len(spots) > 1]


def _takes(step: Term, any_step: bool) -> bool:
    if mentions_value(step):
        return False
    return any_step or (isinstance(step, Call) and step.name in LAYERS)


def _name(naming: Naming, instance: Chain) -> str:
    """A name from the layers of a sequence; of one with declared layers, from the class around it."""
    plain = all(call.name in LAYERS for call in calls(instance))
    return of_steps(instance) if plain else naming.around(nodes(instance)) or "part"


def _tried(page: Page, naming: Naming, spots: _Spots, least: int) -> tuple[int, int, Layer, _Spots, list[Call]] | None:
    instances = [Chain(chain.steps[start:end]) for chain, start, end in spots]
    words = [cost(page, i) for i in instances]
    if sum(words) - min(words) < least:
        return None
    made = declared(page, naming, _name(naming, instances[0]), instances)
    if made is None:
        return None
    layer, made_calls = made
    page.decls.append(layer)
    after = sum(cost(page, c) for c in made_calls) + cost(page, layer.body) + 2 * len(layer.params) + 3
    page.decls.pop()
    gain = sum(words) - after
    return (gain, -spots[0][1], layer, spots, made_calls) if gain >= least else None
