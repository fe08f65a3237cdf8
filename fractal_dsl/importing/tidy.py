"""Tidies a page: a short layer with one use moves to its place, and declarations come before their uses."""

from __future__ import annotations

from fractal_dsl.importing.cost import cost
from fractal_dsl.importing.generalise import renamed
from fractal_dsl.importing.page import Decl, Layer, Page
from fractal_dsl.importing.terms import Call, Chain, Level, Power, chain_of, chains, mentions_value, rewrite

_SHORT = 12  # words


def tidy(page: Page) -> None:
    """Inline what is short and used once, drop what is not used, and sort."""
    for decl in list(page.decls):
        uses = page.uses(decl.name)
        if not uses:
            page.decls.remove(decl)
        elif isinstance(decl, Layer) and not mentions_value(decl.body) and len(uses) == 1 and isinstance(uses[0], Call):
            single = len(decl.body.steps) == 1 and isinstance(decl.body.steps[0], Call | Level)
            if single or (cost(page, decl.body) <= _SHORT and not _repeated(page, decl.name)):
                page.decls.remove(decl)
                _inline(page, decl)
    page.decls = _sorted(page)


def _repeated(page: Page, name: str) -> bool:
    """Whether a layer is used in a repetition."""
    steps = [step for body in page.bodies() for chain in chains(body) for step in chain.steps]
    bases = [step.base for step in steps if isinstance(step, Power)]
    return any(isinstance(s, Call) and s.name == name for base in bases for s in base.steps)


def _inline(page: Page, layer: Layer) -> None:
    def change(chain: Chain) -> Chain:
        steps = []
        for step in chain.steps:
            called = isinstance(step, Call) and step.name == layer.name
            steps.append(renamed(layer.body, dict(step.args)) if called and isinstance(step, Call) else step)
        return chain_of(*steps)

    page.change({i: rewrite(body, change) for i, body in enumerate(list(page.bodies()))})


def _sorted(page: Page) -> list[Decl]:
    """The declarations in the order in which the net needs them, each after what it uses."""
    by_name = {decl.name: decl for decl in page.decls}
    result: list[Decl] = []

    def add(chain: Chain) -> None:
        for inner in chains(chain):
            for step in inner.steps:
                name = step.name if isinstance(step, Call) else step.rule if isinstance(step, Level) else ""
                decl = by_name.pop(name, None)
                if decl is not None:
                    for body in Page("", (), (), Chain(()), [decl]).bodies():
                        add(body)
                    result.append(decl)

    add(page.body)
    return result
