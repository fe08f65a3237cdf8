"""The command plan."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from fractal_dsl.cli.given import given_spec
from fractal_dsl.cli.grouped import SpecOptions, with_group
from fractal_dsl.cli.options import JSON, PLANS
from fractal_dsl.cli.say import say


@with_group
def plan(
    *,
    plan: Annotated[str, typer.Option(metavar="PLAN", help=f"Plan to print: {PLANS}.")] = "mixed:0",
    json_: JSON = False,
    options: SpecOptions,
) -> None:
    """Print a drop-path plan: the live inputs of each join, and the share of the net that it uses.

    Branches with `@drop` are part of it.
    """
    from fractal_dsl.plans.plan_on_graph import plan_of_spec
    from fractal_dsl.plans.plan_to_table import plan_facts, plan_table

    compiled, _ = given_spec("plan", options, settings=False)
    chosen = plan_of_spec(plan, compiled.graph)
    facts = plan_facts(compiled.graph, chosen)
    say(json.dumps(facts, indent=2) if json_ else plan_table(facts))
