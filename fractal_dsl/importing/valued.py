"""Gives each part of a net with named values a declaration, because ``where`` ends the body of one."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from fractal_dsl.importing.declaring import declared
from fractal_dsl.importing.generalise import key
from fractal_dsl.importing.naming import Naming
from fractal_dsl.importing.page import Page
from fractal_dsl.importing.scopes import replace_spots
from fractal_dsl.importing.terms import Chain, Where, chains, children, nodes


def layers_of_values(page: Page, naming: Naming) -> None:
    """Declare a layer for parts with values, the innermost first."""
    while True:
        groups: dict[Any, list[tuple[Chain, int]]] = defaultdict(list)
        for body in page.bodies():
            for chain in chains(body):
                for at, step in enumerate(chain.steps):
                    whole = chain is body and len(body.steps) == 1
                    if isinstance(step, Where) and not whole and not _nested(step):
                        groups[key(step)].append((chain, at))
        if not groups:
            return
        for spots in groups.values():
            instances = [Chain((chain.steps[at],)) for chain, at in spots]
            name = naming.around(nodes(instances[0])) or "cell"
            made = declared(page, naming, name, instances)
            if made is None:  # too many parameters for one layer
                spots, instances = spots[:1], instances[:1]
                made = declared(page, naming, name, instances)
                assert made is not None
            page.decls.append(made[0])
            replace_spots(page, [(chain, at, at + 1) for chain, at in spots], made[1])
            break


def _nested(where: Where) -> bool:
    return any(isinstance(s, Where) for inner in children(where) for chain in chains(inner) for s in chain.steps)
