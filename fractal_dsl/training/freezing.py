"""Freezes the parts of a net that must not learn."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from fractal_dsl.base.errors import UserError, suggestion
from fractal_dsl.base.texts import shortened
from fractal_dsl.graph.graph import Join, JoinGraph, Layer
from fractal_dsl.graph.lone_column import lone_column
from fractal_dsl.plans.plan_on_graph import node_cost
from fractal_dsl.runtime.frozen import frozen_modules, frozen_norms, frozen_parts, tags_of
from fractal_dsl.runtime.module import FractalModule


def check_frozen(graph: JoinGraph, names: Sequence[str], plain: int | None = None) -> None:
    """Raise UserError if a name is neither a tag nor a module of a net, or if nothing is left to learn: in
    some plan, or in column ``plain``, which is trained alone."""
    check_named(graph, names, "freeze")
    alone = [] if plain is None else [lone_column(graph, plain)]
    frozen = frozen_modules(graph, names)
    if any(_may_learn_nothing(g, frozen) for g in (graph, *alone)):
        plans = " in some drop-path plans" if graph.drop_path or graph.dropping() else ""
        if names:
            help = "Leave out a part that always runs, such as the last layer"
            raise UserError(f"freeze: nothing is left to learn{plans}. {help}")
        help = "Put a layer with weights where every plan runs it, such as at the end"
        raise UserError(f"net {graph.net} has nothing to learn{plans}. {help if plans else 'It has no weights'}")


def check_named(graph: JoinGraph, names: Sequence[str], setting: str) -> None:
    """Raise UserError if a name in a setting is neither a tag nor a module of a net."""
    tags = dict.fromkeys(tag.text for _, node in graph.items() for tag in tags_of(node))
    for name in names:
        if not frozen_modules(graph, [name]):
            known = f"its tags are {shortened([*tags])}" if tags else 'it has no tags: write @tag("NAME") after a part'
            hint = suggestion(name, tags)
            raise UserError(
                f"{setting}: net {graph.net} has no tag and no module {name!r}; {known}"
                + (f"\n  help: {hint}" if hint else "")
            )


def freeze(model: FractalModule, names: Sequence[str]) -> list[nn.Module]:
    """Stop the gradients of the frozen parameters. Returns the norms whose running statistics must not change, which
    have to be in eval mode. A name may be missing: a single column lacks parts of its net."""
    for part in frozen_parts(model, names):
        part.requires_grad_(False)
    return frozen_norms(model, names)


def _may_learn_nothing(graph: JoinGraph, frozen: set[str]) -> bool:
    """Whether a plan can have a live part without parameters to learn.

    Drop-path may leave one operand of a join, and ``@drop`` the branches without it."""
    nothing: dict[int, bool] = {}
    for number, node in graph.items():
        operands = [nothing[o] for o in graph.operands(number)]
        if isinstance(node, Join) and node.of_columns and graph.drop_path is not None:
            nothing[number] = any(operands)
        elif isinstance(node, Join) and node.drops:
            kept = [n for n, drop in zip(operands, node.drops, strict=True) if not drop]
            nothing[number] = all(kept) if kept else any(operands)
        else:
            learns = (
                isinstance(node, Layer | Join) and node.module not in frozen and node_cost(graph, number).params > 0
            )
            nothing[number] = not learns and all(operands)
    return nothing[graph.output[0]]
