"""Random rules, and what they mean: a recursive evaluator straight from the recurrence, slow on purpose.

It shares nothing with the compiler but the layers' weights, which it takes in the order in which the text
places them. A rule body is a list of columns; a column is a list of steps; a step is ``conv``, ``id``, ``F``, a
mention of the rule one level below, or a sum of two layers of which training leaves one out: ``one`` the second,
``either`` one of the two, the second by the level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

import torch
from hypothesis import strategies as st
from torch import Tensor

Step = str
Body = list[list[Step]]
Columns = list[tuple[int, Tensor]]


@dataclass(frozen=True)
class Spec:
    """A net of ``blocks`` rule mentions of ``level``; ``each`` puts a layer on every column before the last join.

    ``marks`` are the annotations of steps, columns and bundles, in turn; they change no meaning.
    """

    base: Body
    step: Body
    join: str
    level: int
    blocks: int
    each: bool
    marks: tuple[str, ...] = ("",)

    def text(self) -> str:
        """The spec in Frac. Inputs are f32[4, 5, 5]."""
        words = {"conv": "conv", "id": "id", "F": "F[n]", "one": "sum(conv, conv @drop(25%))"}
        words["either"] = "sum(conv @drop(10%), conv @drop(n / 8))"

        marks = cycle(self.marks)

        def marked(text: str) -> str:
            mark = next(marks)
            return f"(({text}){mark})" if mark else text

        def body(columns: Body) -> str:
            return marked(" | ".join(marked(" >> ".join(marked(words[s]) for s in column)) for column in columns))

        mention = marked(marked(f"F[{self.level}]") + (".each(point)" if self.each else ""))
        return f"""
        layer conv = conv2d(4, 3, padding=1) >> tanh
        layer point = conv2d(4, 1)
        rule F join {self.join} {{
            F[1] = {body(self.base)}
            F[n+1] = {body(self.step)}
        }}
        net N(x: f32[4, 5, 5]) -> f32[7] with drop_path(local=30%, global=50%)
            = {" >> ".join([mention] * self.blocks)} >> flatten >> linear(7)
        """


def _bodies(steps: Sequence[Step], most: int) -> st.SearchStrategy[Body]:
    column = st.lists(st.sampled_from(steps), min_size=1, max_size=3)
    return st.lists(column, min_size=1, max_size=most)


specs = st.builds(
    Spec,
    base=_bodies(["conv", "conv", "id", "one"], 2),
    step=_bodies(["conv", "conv", "id", "one", "either", "F", "F", "F", "F"], 3),
    join=st.sampled_from(["mean", "sum", "product", "max", "min", "concat"]),
    level=st.integers(1, 4),
    blocks=st.integers(1, 2),
    each=st.booleans(),
    marks=st.lists(st.sampled_from(["", "", ' @tag("t")', ' @tag("u") @checkpoint']), min_size=1).map(tuple),
)

Choose = Callable[[list[tuple[int, int]]], list[bool]]


class Evaluator:
    """Evaluates a spec. ``layers`` yields the net's layers in the order of the text; ``live`` tells which
    operands of a join, given their labels, are live. In a ``local`` plan `sum` and `concat` make up for the others.
    ``branches`` yields the live branches of each inline join; None in evaluation."""

    def __init__(
        self,
        spec: Spec,
        layers: Iterator[torch.nn.Module],
        live: Choose | None = None,
        local: bool = False,
        branches: Iterator[Sequence[bool]] | None = None,
    ) -> None:
        self.spec, self.layers, self.local, self.branches = spec, layers, local, branches
        self.live: Choose = live or (lambda labels: [True] * len(labels))
        self.labels: list[list[tuple[int, int]]] = []

    def net(self, x: Tensor) -> Tensor:
        """The whole net."""
        for _ in range(self.spec.blocks):
            columns = self.rule(self.spec.level, x)
            if self.spec.each:
                columns = [(level, next(self.layers)(t)) for level, t in columns]
            x = self.close(columns)
        return next(self.layers)(x.flatten(1))

    def rule(self, level: int, x: Tensor) -> Columns:
        """The open bundle of F[level]."""
        body = self.spec.base if level == 1 else self.spec.step
        return [c for column in body for c in self.column(column, level, x)]

    def column(self, steps: list[Step], level: int, x: Tensor) -> Columns:
        """The columns that one column of a body hands on: more than one if it ends in a mention."""
        columns: Columns = [(level, x)]
        for step in steps:
            x = self.close(columns)
            if step == "F":
                columns = self.rule(level - 1, x)
            elif step in ("one", "either"):
                columns = [(level, self.sum_of_two(step, level, x))]
            else:
                columns = [(level, x if step == "id" else torch.tanh(next(self.layers)(x)))]
        return columns

    def sum_of_two(self, step: Step, level: int, x: Tensor) -> Tensor:
        """The sum of two layers, each divided by the probability that it is live, if they are drawn."""
        a, b = (torch.tanh(next(self.layers)(x)) for _ in range(2))
        if self.branches is None:
            return a + b
        p, q = (0.0, 0.25) if step == "one" else (0.1, (level - 1) / 8)
        both = p * q / 2  # the share of steps in which each of them stays alone, although it was left out
        on, other = next(self.branches)
        return on * a / (1 - p + both) + other * b / (1 - q + both)

    def close(self, columns: Columns) -> Tensor:
        """The join of the rule, over the live columns."""
        tensors = [t for _, t in columns]
        if len(tensors) == 1:
            return tensors[0]
        levels = [level for level, _ in columns]
        labels = [(level, levels[:i].count(level)) for i, level in enumerate(levels)]
        self.labels.append(labels)
        on = self.live(labels)
        alive = [t for t, flag in zip(tensors, on, strict=True) if flag]
        factor = len(on) / len(alive) if self.local else 1
        match self.spec.join:
            case "mean":
                return torch.stack(alive).mean(0)
            case "sum":
                return torch.stack(alive).sum(0) * factor
            case "product":
                return torch.stack(alive).prod(0)
            case "max":
                return torch.stack(alive).amax(0)
            case "min":
                return torch.stack(alive).amin(0)
            case _:
                parts = [t * factor if flag else torch.zeros_like(t) for t, flag in zip(tensors, on, strict=True)]
                return torch.cat(parts, 1)


def column_choice(order: list[tuple[int, int]], column: int) -> Choose:
    """Column k by the words of the language: its own operand, else the nearest deeper one, else the deepest."""

    def choose(labels: list[tuple[int, int]]) -> list[bool]:
        wanted = [label for label in order[column - 1 :] if label in labels]
        deepest = [label for label in order if label in labels][-1]
        chosen = wanted[0] if wanted else deepest
        return [label == chosen for label in labels]

    return choose
