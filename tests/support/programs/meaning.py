"""What a drawn program means: its terms, run by the words of ``language.md``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tests.support.programs.layers import Op, apply


@dataclass(frozen=True, eq=False)
class Seq:
    """One after another."""

    items: tuple[Term, ...]


@dataclass(frozen=True, eq=False)
class Bundle:
    """Columns side by side."""

    columns: tuple[Term, ...]


@dataclass(frozen=True, eq=False)
class Join:
    """A join, and the block that processes what it gives; ``dim`` is the axis of ``concat``."""

    name: str
    after: Term | None = None
    dim: int = 1


@dataclass(frozen=True, eq=False)
class Mention:
    """A rule at a level; ``inside`` the same rule its columns stay open."""

    level: int
    join: Join
    body: Term
    inside: bool


@dataclass(frozen=True, eq=False)
class Each:
    """A block on every column."""

    target: Mention
    block: Term


@dataclass(frozen=True, eq=False)
class Merge:
    """An inline join; ``drops`` are the probabilities that training leaves out its branches."""

    join: Join
    branches: tuple[Term, ...]
    drops: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Value:
    """A value of a body."""

    block: Term


@dataclass(frozen=True, eq=False)
class Use:
    """A mention of a value."""

    value: Value


@dataclass(frozen=True, eq=False)
class Where:
    """A body with its values."""

    values: tuple[Value, ...]
    body: Term


@dataclass(frozen=True, eq=False)
class Outputs:
    """The outputs of a net that has several."""

    items: tuple[Term, ...]


Term = Op | Seq | Bundle | Mention | Each | Merge | Use | Where | Outputs
Label = tuple[int, int]
Choose = Callable[[list[Label]], list[bool]]


def count(term: Term) -> int:
    """The built-in layers that a term places."""
    match term:
        case Op():
            return 1
        case Seq():
            return sum(map(count, term.items))
        case Bundle():
            return sum(map(count, term.columns))
        case Mention():
            return count(term.body) + (count(term.join.after) if term.join.after else 0)
        case Each():
            return count(term.target) + _width(term.target) * count(term.block)
        case Merge():
            return sum(map(count, term.branches)) + (count(term.join.after) if term.join.after else 0)
        case Use():
            return 0
        case Outputs():
            return sum(map(count, term.items))
        case Where():
            return count(term.body) + sum(count(value.block) for value in term.values)


def mentioned(term: Term) -> set[Value]:
    """The values that a term mentions, directly."""
    match term:
        case Op():
            return set()
        case Use():
            return {term.value}
        case Where():
            return {*mentioned(term.body), *(v for value in term.values for v in mentioned(value.block))}
        case Seq() | Outputs():
            inner = term.items
        case Bundle():
            inner = term.columns
        case Mention():
            inner = (term.body,)
        case Each():
            inner = (term.target, term.block)
        case Merge():
            inner = term.branches
    return {v for part in inner for v in mentioned(part)}


def needed(term: Where) -> list[Value]:
    """The values that a body needs, in the order of the text."""
    needs = mentioned(term.body)
    for value in reversed(term.values):
        if value in needs:
            needs |= mentioned(value.block)
    return [value for value in term.values if value in needs]


def _width(term: Term) -> int:
    match term:
        case Bundle():
            return sum(map(_width, term.columns))
        case Seq():
            return _width(term.items[-1])
        case Mention() | Where():
            return _width(term.body)
        case _:
            return 1


class Meaning:
    """Runs a term on a tensor. ``modules`` yields the net's modules in the order of the text; ``live`` tells
    which operands of a rule's join, given their labels, are live. In a ``local`` plan `sum` and `concat` make up for
    the others. ``branches`` yields the live branches of each inline join that may lack some; None in evaluation."""

    def __init__(
        self,
        modules: Iterator[nn.Module],
        live: Choose | None = None,
        branches: Iterator[Sequence[bool]] | None = None,
        local: bool = False,
    ) -> None:
        self.modules, self.branches, self.local = modules, branches, local
        self.live: Choose = live or (lambda labels: [True] * len(labels))
        self.labels: set[Label] = set()
        self.values: dict[Value, Tensor] = {}

    def net(self, term: Term, inputs: Sequence[Value], given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The outputs of a net for its inputs, which the term mentions as values."""
        self.values |= dict(zip(inputs, given, strict=True))
        return self.outputs(term, given[0])

    def outputs(self, term: Term, x: Tensor) -> tuple[Tensor, ...]:
        """The outputs at the end of a net's body."""
        match term:
            case Outputs():
                return tuple([self.closed(item, x) for item in term.items])
            case Where():
                self.bind(term, x, None)
                return self.outputs(term.body, x)
            case _:
                return (self.closed(term, x),)

    def bind(self, term: Where, x: Tensor, at: Mention | None) -> None:
        """Compute the values of a body that it needs."""
        for value in needed(term):
            self.values[value] = self.closed(value.block, x, at)

    def closed(self, term: Term, x: Tensor, at: Mention | None = None) -> Tensor:
        """The one signal at the end of a term; ``at`` is the rule around it."""
        return self.close(*self.open(term, x, at))

    def open(self, term: Term, x: Tensor, at: Mention | None) -> tuple[list[tuple[int, Tensor]], Join | None]:
        """The columns at the end of a term with the levels that brought them in, and the join that closes them."""
        level = at.level if at else 0
        match term:
            case Op():
                return [(level, x if term.name == "id" else apply(term, next(self.modules), x))], None
            case Seq():
                for item in term.items[:-1]:
                    x = self.closed(item, x, at)
                return self.open(term.items[-1], x, at)
            case Bundle():
                assert at is not None
                return [c for column in term.columns for c in self.open(column, x, at)[0]], at.join
            case Mention() | Each():
                mention = term.target if isinstance(term, Each) else term
                columns, _ = self.open(mention.body, x, mention)
                if isinstance(term, Each):
                    columns = [(label, self.closed(term.block, t, at)) for label, t in columns]
                if mention.inside:
                    return columns, mention.join
                return [(level, self.close(columns, mention.join))], None
            case Merge():
                results = [self.closed(branch, x, at) for branch in term.branches]
                y = results[0] if len(results) == 1 else self.merged(term, results)
                return [(level, self.closed(term.join.after, y, at) if term.join.after else y)], None
            case Use():
                return [(level, self.values[term.value])], None
            case Where():
                self.bind(term, x, at)
                return self.open(term.body, x, at)
            case Outputs():
                raise AssertionError("only a net has several outputs")

    def close(self, columns: list[tuple[int, Tensor]], join: Join | None) -> Tensor:
        """A rule's join over the live columns."""
        if len(columns) == 1:
            return columns[0][1]
        assert join is not None
        levels = [level for level, _ in columns]
        labels = [(level, levels[:i].count(level)) for i, level in enumerate(levels)]
        self.labels.update(labels)
        on = self.live(labels)
        factor = len(on) / sum(on) if self.local and join.name in ("sum", "concat") else 1
        y = self.joined(join, [t for _, t in columns], on) * factor
        return self.closed(join.after, y) if join.after else y

    def merged(self, term: Merge, tensors: Sequence[Tensor]) -> Tensor:
        """An inline join. A dropped branch was run here, too, so that the modules of all are taken in order."""
        if self.branches is None or not any(term.drops):
            return self.joined(term.join, tensors, [True] * len(tensors))
        on = next(self.branches)
        if term.join.name in ("product", "max", "min", "gated"):
            return self.joined(term.join, tensors, on)
        survivor = math.prod(term.drops) / len(tensors)
        weights = [live / (1 - drop + survivor) for live, drop in zip(on, term.drops, strict=True)]
        weighed = [t * w for t, w in zip(tensors, weights, strict=True)]
        return self.joined(term.join, weighed, [True] * len(tensors))

    def joined(self, join: Join, tensors: Sequence[Tensor], live: Sequence[bool]) -> Tensor:
        """A join; of a dropped operand ``concat`` keeps zeros."""
        kept = [t for t, on in zip(tensors, live, strict=True) if on]
        match join.name:
            case "mean":
                return torch.stack(torch.broadcast_tensors(*kept)).mean(0)
            case "sum":
                return torch.stack(torch.broadcast_tensors(*kept)).sum(0)
            case "product":
                return torch.stack(torch.broadcast_tensors(*kept)).prod(0)
            case "matmul":
                next(self.modules)
                return kept[0] @ kept[1]
            case "attend":
                next(self.modules)
                q, k, v = kept
                return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1) @ v
            case "max":
                return torch.stack(kept).amax(0)
            case "min":
                return torch.stack(kept).amin(0)
            case "gated":
                gate: Any = next(self.modules)
                weights = torch.stack([w for w, on in zip(gate.logits.exp(), live, strict=True) if on])
                return sum([w * t for w, t in zip(weights, kept, strict=True)], torch.zeros(())) / weights.sum()
            case "spread":
                next(self.modules)
                return kept[0] - torch.stack(kept).mean(0) if len(kept) > 1 else kept[0]
            case _:
                parts = [t if on else torch.zeros_like(t) for t, on in zip(tensors, live, strict=True)]
                return torch.cat(parts, join.dim)


def column(labels: set[Label], k: int) -> Choose:
    """Column k: its own operand, else the nearest deeper one, else the deepest."""
    order = sorted(labels, key=lambda label: (-label[0], label[1]))

    def choose(here: list[Label]) -> list[bool]:
        present = [label for label in order if label in here]
        wanted = next((label for label in order[k - 1 :] if label in here), present[-1])
        return [label == wanted for label in here]

    return choose
