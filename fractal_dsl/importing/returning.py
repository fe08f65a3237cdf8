"""What a captured module returns, as the outputs of its plain graph."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import fx

from fractal_dsl.importing.building import Builder, Held, Ref
from fractal_dsl.importing.capture import place_of
from fractal_dsl.importing.ends import Path, leaves, shown, tensors
from fractal_dsl.importing.plain import Place
from fractal_dsl.importing.refusal import Refusal
from fractal_dsl.importing.views import View, plain


class Returned(NamedTuple):
    """What a graph returns, three times: its nodes, what they are lowered to, and the tensors of an example."""

    nodes: Any = None
    values: Any = None
    real: Any = None


def outputs_of(graph: fx.Graph, builder: Builder, returned: Returned) -> dict[Path, Ref]:
    """The outputs by their paths. Raises Refusal unless they are tensors that depend on the input."""
    nodes, values, real = map(graph.process_outputs, returned)
    nodes, values, result = dict(leaves(nodes)), dict(leaves(values)), dict[Path, Ref]()
    for path, _ in tensors(real):
        node = next((nodes[path[:end]] for end in range(len(path), -1, -1) if path[:end] in nodes), None)
        builder.place = place_of(node) if isinstance(node, fx.Node) else Place()
        value = values.get(path)
        value = plain(builder, value) if isinstance(value, View) else value
        if isinstance(value, Held):
            raise Refusal(f"{shown(path)} is a constant: it does not depend on the input", builder.place)
        if not isinstance(value, Ref):
            reason = f"{shown(path)} is computed in a way that has no counterpart in the language"
            raise Refusal(reason, builder.place)
        result[path] = value
    return result
