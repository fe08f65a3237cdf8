"""A checked net, what stages after the check are given: its program, its figures, and its graphs on demand."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct, field

from fractal_dsl.language.diagnostics import Diagnostic
from fractal_dsl.program.program import Program
from fractal_dsl.program.program_to_summary import Summary

if TYPE_CHECKING:
    from fractal_dsl.graph.graph import JoinGraph

MAX_LAYERS = 200_000


class Compiled(Struct, frozen=True, dict=True):
    """A checked net with its figures; its graphs are built when they are asked for.

    ``warnings`` are those of its file and of what it imports.
    """

    program: Program
    summary: Summary
    overrides: Mapping[str, str] = field(default_factory=dict[str, str])
    max_layers: int = MAX_LAYERS
    texts: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the net is compiled from, by the places in the folder of the main file, which comes first."""
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def stored(self) -> str:
        """The part of a run or a compiled network that the main file becomes: ``spec/`` and its name."""
        return f"spec/{next(iter(self.texts))}"

    def spec_files(self, main: str) -> dict[str, str]:
        """The texts as parts of a folder that has the main file as its part ``main``."""
        folder = main[: main.rfind("/") + 1]
        return {folder + name: text for name, text in self.texts.items()}

    @cached_property
    def raw(self) -> JoinGraph:
        """The graph as the recurrence reads, with two-input joins."""
        return self._raw()

    @cached_property
    def collapsed(self) -> JoinGraph:
        """The graph with joins that span their columns."""
        return self._collapsed()

    @cached_property
    def graph(self) -> JoinGraph:
        """The collapsed graph with columns and names: what code and pictures are made of.

        The stages before it are not kept: each takes as much memory as this one.
        """
        from fractal_dsl.graph.passes import run_pass
        from fractal_dsl.graph.passes.assign_columns import assign_columns

        return run_pass(assign_columns, self._collapsed(), self.summary.labels)

    def _raw(self) -> JoinGraph:
        from fractal_dsl.graph.passes import run_pass
        from fractal_dsl.graph.program_to_graph import program_to_graph

        return run_pass(program_to_graph, self.program)

    def _collapsed(self) -> JoinGraph:
        from fractal_dsl.graph.passes import run_pass
        from fractal_dsl.graph.passes.collapse_joins import collapse_joins

        return run_pass(collapse_joins, self._raw())

    def column(self, k: int) -> JoinGraph:
        """Column k (from 1, shallow to deep) as a graph of its own. Raises UserError if there is none."""
        from fractal_dsl.graph.lone_column import lone_column

        return lone_column(self.graph, k)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """The net as a picture in a notebook; of a net that is too large, its rule."""
        from fractal_dsl.picture.bundle import graph_bundle, program_bundle
        from fractal_dsl.picture.graph_to_dot import MAX_UNITS
        from fractal_dsl.program.fold_program import boxes

        if boxes(self.program) > MAX_UNITS:
            return program_bundle(self.program, repr(self))
        return graph_bundle(self.graph, repr(self))

    def __repr__(self) -> str:
        from fractal_dsl.program.program_to_summary import approximate, depth_text

        s = self.summary
        return (
            f"net {s.net}: {approximate(s.params)} parameters, {approximate(s.macs)} MACs per sample, {depth_text(s)}"
        )
