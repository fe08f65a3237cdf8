"""A plain graph as a page: decomposed, with the layers, the rules and the repetitions that a person would write."""

from __future__ import annotations

from fractal_dsl.importing.grams import layers_of_grams
from fractal_dsl.importing.graph_to_term import graph_to_term
from fractal_dsl.importing.loops import fold_loops
from fractal_dsl.importing.naming import Naming
from fractal_dsl.importing.page import Page
from fractal_dsl.importing.plain import PlainGraph
from fractal_dsl.importing.refusal import Refusal
from fractal_dsl.importing.rules import fold_rules
from fractal_dsl.importing.scopes import layers_of_scopes
from fractal_dsl.importing.sharing import share_parts, shared_layers
from fractal_dsl.importing.terms import Bundle, Chain, Merge, chains, values_in
from fractal_dsl.importing.tidy import tidy
from fractal_dsl.importing.valued import layers_of_values


def graph_to_page(graph: PlainGraph, net: str, comment: str = "") -> Page:
    """The page of a net. Raises Refusal for a graph that the language cannot express."""
    shared, decls = shared_layers(graph)
    naming = Naming(graph)
    closed = 0
    while True:
        body = graph_to_term(graph, shared, closed)
        inputs, outputs = tuple(graph.inputs()), tuple(graph.outputs())
        page = Page(net, inputs, outputs, body, [*decls], comment, {name for name, _ in inputs} | values_in(body))
        share_parts(page, graph, shared, naming)
        fold_rules(page, naming)
        still = _open(page)
        if not still:
            break
        if not still & ~closed:
            raise Refusal("its branches share steps in a way that the importer cannot write; please report this")
        closed |= still
    layers_of_values(page, naming)
    layers_of_scopes(page, graph, naming)
    layers_of_grams(page, naming)
    fold_loops(page)
    layers_of_grams(page, naming, any_step=True)
    fold_loops(page)
    tidy(page)
    return page


def _open(page: Page) -> int:
    """The bit set of the joins whose columns are open, because they are no level of a rule."""
    result = 0
    for step in [step for body in page.bodies() for chain in chains(body) for step in chain.steps]:
        if isinstance(step, Merge) and any(_ends_open(branch) for branch in step.branches):
            result |= step.nodes
    return result


def _ends_open(branch: Chain) -> bool:
    return bool(branch.steps) and isinstance(branch.steps[-1], Bundle)
