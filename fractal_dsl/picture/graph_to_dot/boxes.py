"""The boxes of a picture as data for a page: their facts, and their places in the text of the net."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fractal_dsl.graph.graph import Input, Join, JoinGraph, Layer, Output
from fractal_dsl.language.source import Span
from fractal_dsl.picture.graph_to_dot.facts import Facts
from fractal_dsl.picture.graph_to_dot.units import Unit, shape_text


def box_data(graph: JoinGraph, drawn: Mapping[int, Unit], ids: Mapping[int, str]) -> dict[str, Any]:
    """The facts of each box by its name in the DOT text, and the places in the text that the boxes share.

    A box refers to places by index: ``source`` is the one to select, and ``places`` are all whose change would change
    the box. Places are offsets of characters in the net's own file, from 0. ``written`` tells the line of any file.
    ``whole`` has the costs of the net.
    """
    facts, places = Facts(graph), dict[Span, int]()
    boxes = {ids[number]: _box(graph, facts, unit, places) for number, unit in drawn.items()}
    whole = {"params": facts.whole.params, "macs": facts.whole.macs}
    return {"boxes": boxes, "whole": whole, "places": [[span.start, span.end] for span in places]}


def _box(graph: JoinGraph, facts: Facts, unit: Unit, places: dict[Span, int]) -> dict[str, Any]:
    nodes = facts.nodes(unit)
    cost = facts.cost(unit)
    box: dict[str, Any] = {
        "name": unit.name,
        "label": unit.label,
        "does": facts.does(unit),
        "into": shape_text(unit.into) if unit.into else "",
        "out": shape_text(unit.out) if unit.out else "",
        "params": cost.params,
        "macs": cost.macs,
    }
    if not unit.members:  # the input or the output of a block that is drawn alone
        return box
    candidates, around = _of_nodes(nodes) if nodes else _of_end(graph, unit)
    selected = next((span for span in candidates if _is_own(graph, span)), None)
    own = [places.setdefault(span, len(places)) for span in dict.fromkeys(around) if _is_own(graph, span)]
    return box | {
        "source": None if selected is None else places.setdefault(selected, len(places)),
        "places": own,
        "written": _written(graph, around[0]),
    }


def _of_nodes(nodes: list[Layer | Join]) -> tuple[list[Span], list[Span]]:
    """The parts of the text to select for nodes, the best first, and those whose change would change them."""
    return [*_candidates(nodes)], [span for node in nodes for span in (node.site.span, *node.site.calls)]


def _of_end(graph: JoinGraph, unit: Unit) -> tuple[list[Span], list[Span]]:
    """The same for an input or the outputs: their declarations."""
    end = graph[unit.members[0]]
    assert isinstance(end, Input | Output)
    spans = [end.span] if isinstance(end, Input) else [*end.spans]
    return [spans[0].to(spans[-1])], spans


def _candidates(nodes: list[Layer | Join]) -> Iterator[Span]:
    """The parts of the text that stand for nodes, the smallest first: their own, if one call has all of them, and the
    calls around all of them."""
    first, *others = nodes
    if all(node.site.calls == first.site.calls for node in others):
        whole = first.site.span
        for node in others:
            whole = whole.to(node.site.span)
        yield whole
    for call in first.site.calls:
        if all(call in node.site.calls for node in others):
            yield call


def _is_own(graph: JoinGraph, span: Span) -> bool:
    """Whether a place is in the net's own file, and not in one that it imports."""
    return graph.sources.at(span).base == 0


def _written(graph: JoinGraph, span: Span) -> dict[str, Any]:
    """The line of a place. Its file is named from the folder of the net's own, because pages are given to others."""
    source, folder = graph.sources.at(span), Path(graph.sources.all[0].name).parent
    path = Path(source.name)
    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
    line, _ = source.position(span.start)
    return {"file": name, "line": line, "text": source.line(line).strip()}
