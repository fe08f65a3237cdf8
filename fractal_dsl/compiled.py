"""A checked net, what stages after the check are given: its program, its figures, and its graphs on demand."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct, field

from fractal_dsl.base.errors import UserError
from fractal_dsl.language.source import Source
from fractal_dsl.program.program import Program
from fractal_dsl.program.program_to_summary import Summary

if TYPE_CHECKING:
    from fractal_dsl.graph.graph import JoinGraph

MAX_LAYERS = 200_000


class Compiled(Struct, frozen=True, dict=True):
    """A checked net with its figures; its graphs are built when they are asked for."""

    program: Program
    summary: Summary
    overrides: Mapping[str, str] = field(default_factory=dict[str, str])
    max_layers: int = MAX_LAYERS
    imported: Mapping[str, Source] = field(default_factory=dict[str, Source])

    def spec_files(self) -> dict[str, str]:
        """The texts that the net is compiled from: ``spec.frac``, and what it imports by its path from there."""
        if "spec.frac" in self.imported:
            raise UserError("an imported file cannot be called spec.frac, the name of the main file in a folder")
        return {"spec.frac": self.program.source.text, **{path: s.text for path, s in self.imported.items()}}

    @cached_property
    def raw(self) -> JoinGraph:
        """The graph as the recurrence reads, with two-input joins."""
        from fractal_dsl.graph.passes import run
        from fractal_dsl.graph.program_to_graph import program_to_graph

        return run(program_to_graph, self.program)

    @cached_property
    def collapsed(self) -> JoinGraph:
        """The graph with joins that span their columns."""
        from fractal_dsl.graph.passes import run
        from fractal_dsl.graph.passes.collapse_joins import collapse_joins

        return run(collapse_joins, self.raw)

    @cached_property
    def graph(self) -> JoinGraph:
        """The collapsed graph with columns and names: what code and pictures are made of."""
        from fractal_dsl.graph.passes import run
        from fractal_dsl.graph.passes.assign_columns import assign_columns

        return run(assign_columns, self.collapsed, self.summary.labels)

    def column(self, k: int) -> JoinGraph:
        """Column k (from 1, shallow to deep) as a graph of its own. Raises UserError if there is none."""
        from fractal_dsl.graph.lone_column import lone_column

        return lone_column(self.graph, k)
