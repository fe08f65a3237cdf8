"""Declares a layer for similar parts of a net, and calls it in their places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fractal_dsl.importing.generalise import Column, General, generalise, renamed
from fractal_dsl.importing.naming import Naming, free
from fractal_dsl.importing.page import Layer, Page, Param
from fractal_dsl.importing.terms import Arg, Call, Chain, Var, chain_of, nodes

_DEFAULTS = {"stride": 1, "padding": None, "dilation": 1, "groups": 1, "kernel": None}
_MOST = 10


def declared(
    page: Page, naming: Naming, name: str, instances: Sequence[Chain], around: str = ""
) -> tuple[Layer, list[Call]] | None:
    """A layer for instances with one ``key``, and the call that stands for each. None if it had too many parameters.

    The layer is not yet part of the page."""
    general = generalise(page, instances)
    if len(general.columns) > _MOST:
        return None
    params, order = parameters(page, naming, general, around)
    names: dict[str, Arg] = {f"#{i}": Var(params[at].name, params[at].type) for at, i in enumerate(order)}
    hidden = set[str]().union(*page.parameters())  # a parameter of this name would hide the layer
    layer = Layer(free(name, page.names() | hidden), tuple(params), renamed(general.body, names))
    calls: list[Call] = []
    for number, instance in enumerate(instances):
        args = [(p.name, general.columns[i].values[number]) for p, i in zip(params, order, strict=True)]
        calls.append(Call(layer.name, tuple(args), nodes(instance)))
    return layer, calls


def parameters(page: Page, naming: Naming, general: General, around: str) -> tuple[list[Param], list[int]]:
    """The parameters of a general term, and the number of each: those without a default first."""
    columns = general.columns
    names = naming.params(page, columns, around)
    defaults = [_default(column) for column in columns]
    order = sorted(range(len(columns)), key=lambda i: defaults[i] is not None)
    return [Param(names[i], columns[i].type, columns[i].kind, defaults[i]) for i in order], order


def _default(column: Column) -> Arg | None:
    """A default for a parameter that half of the instances leave at the usual value."""
    kind = column.arg if column.arg in _DEFAULTS else column.kind
    if kind not in _DEFAULTS:
        return None
    value, count = Counter(column.values).most_common(1)[0]
    usual = _DEFAULTS[kind]
    simple = isinstance(value, int) and (usual is None or value == usual)
    return value if simple and 2 * count >= len(column.values) else None


def replaced(chain: Chain, spots: Sequence[tuple[int, int, Call]]) -> Chain:
    """The chain with calls in place of some of its slices, given from start to end."""
    steps = list(chain.steps)
    for start, end, call in sorted(spots, key=lambda s: s[0], reverse=True):
        steps[start:end] = [call]
    return chain_of(*steps)
