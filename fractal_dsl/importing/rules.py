"""Recognises rules: joins of columns that a recurrence builds, as in FractalNet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fractal_dsl.importing.declaring import parameters
from fractal_dsl.importing.generalise import generalise, key, renamed
from fractal_dsl.importing.naming import Naming, free
from fractal_dsl.importing.page import Page, Rule, Shared
from fractal_dsl.importing.rewriting import ASSOCIATIVE
from fractal_dsl.importing.terms import (
    Arg,
    Bundle,
    Call,
    Chain,
    Level,
    Merge,
    Term,
    Var,
    chain_of,
    free_values,
    mapped,
    nodes,
)

_F = Call("F")


@dataclass(frozen=True)
class _Folded:
    """A join as a rule at a level: ``base`` is level 1, ``columns`` the recurrence, where ``F`` is a level below."""

    level: int
    base: Chain
    columns: tuple[Chain, ...]
    each: Chain


def fold_rules(page: Page, naming: Naming) -> None:
    """Declare the rules of the joins in the net and in shared blocks, and call them in place of the joins."""
    merges: dict[int, tuple[Merge, _Folded]] = {}

    def search(chain: Chain) -> None:
        for step in chain.steps:
            folded = _folded(step) if isinstance(step, Merge) else None
            if folded is not None and isinstance(step, Merge):
                merges[id(step)] = (step, folded)
            elif not isinstance(step, Call | Level):
                mapped(step, lambda inner: (search(inner), inner)[1])

    for body in page.bodies():
        search(body)
    groups: dict[Any, list[tuple[Merge, _Folded]]] = defaultdict(list)
    for merge, folded in merges.values():
        groups[merge.join, key(folded.base), tuple([key(c) for c in folded.columns])].append((merge, folded))
    calls: dict[int, Level] = {}
    for group in groups.values():
        calls |= _rule(page, naming, group)
    for decl in page.decls:
        if isinstance(decl, Shared):
            decl.body = _replaced(decl.body, calls)
    page.body = _replaced(page.body, calls)


def _replaced(chain: Chain, calls: dict[int, Level]) -> Chain:
    steps = [calls.get(id(s)) or mapped(s, lambda inner: _replaced(inner, calls)) for s in chain.steps]
    return Chain(tuple(steps))


def _rule(page: Page, naming: Naming, group: list[tuple[Merge, _Folded]]) -> dict[int, Level]:
    """Declare one rule for joins with the same recurrence. The levels may differ, and numbers, which are parameters."""
    instances = [Chain((Bundle((f.base, *f.columns)),)) for _, f in group]
    general = generalise(page, instances)
    params, order = parameters(page, naming, general, "")
    names: dict[str, Arg] = {f"#{i}": Var(params[at].name, params[at].type) for at, i in enumerate(order)}
    bundle = renamed(general.body, names).steps[0]
    assert isinstance(bundle, Bundle)
    name = free("F", page.names())
    base, *columns = [_renamed(c, name) for c in bundle.columns]
    page.decls.append(Rule(name, tuple(params), group[0][0].join, base, tuple(columns)))
    result: dict[int, Level] = {}
    for number, (merge, folded) in enumerate(group):
        args = tuple([(p.name, general.columns[i].values[number]) for p, i in zip(params, order, strict=True)])
        result[id(merge)] = Level(name, folded.level, args, folded.each, nodes(merge))
    return result


def _renamed(chain: Chain, name: str) -> Chain:
    return Chain(
        tuple([Call(name) if s == _F else mapped(s, lambda inner: _renamed(inner, name)) for s in chain.steps])
    )


def _folded(merge: Merge) -> _Folded | None:
    """The rule that a join is a level of; None if there is none that has level 3 or more."""
    for branches, each in _without_last(merge.branches):
        for inner in _inner_joins(branches, merge.join):
            columns = _columns(branches, inner)
            below = _descended(inner, columns) if columns is not None else None
            if columns is not None and below is not None and not any(map(free_values, (below[1], *columns))):
                level, base = below
                return _Folded(level + 1, base, columns, each)
    return None


def _without_last(branches: tuple[Chain, ...]) -> list[tuple[tuple[Chain, ...], Chain]]:
    """The branches, and the branches without a last step that all have in common (``each``)."""
    result = [(branches, Chain(()))]
    ends = [_last(b) for b in branches]
    if all(ends) and len({*ends}) == 1 and isinstance(ends[0], Call):
        result.append((tuple([_without(b) for b in branches]), Chain((ends[0],))))
    return result


def _last(branch: Chain) -> Term | None:
    last = branch.steps[-1] if branch.steps else None
    if isinstance(last, Bundle):
        inner = {_last(c) for c in last.columns}
        return inner.pop() if len(inner) == 1 else None
    return last


def _without(branch: Chain) -> Chain:
    *steps, last = branch.steps
    if isinstance(last, Bundle):
        return Chain((*steps, Bundle(tuple([_without(c) for c in last.columns]))))
    return Chain(tuple(steps))


def _inner_joins(branches: Sequence[Chain], join: str) -> list[Merge]:
    """The different joins of this kind right inside the branches, the largest first."""
    result: list[Merge] = []
    for branch in branches:
        for step in branch.steps:
            if isinstance(step, Merge) and step.join == join and step not in result:
                result.append(step)
            if isinstance(step, Bundle):
                result += [m for m in _inner_joins(step.columns, join) if m not in result]
    return sorted(result, key=lambda m: -nodes(m).bit_count())


def _columns(branches: Sequence[Chain], inner: Merge) -> tuple[Chain, ...] | None:
    """The branches with ``F`` in place of a join. None if a branch ends in that join as one tensor: a rule merges its
    columns with the others, which is the same for an associative join only."""
    if inner.join not in ASSOCIATIVE and any(_ends_in(branch, inner) for branch in branches):
        return None
    return tuple([_with_f(branch, inner) for branch in branches])


def _ends_in(branch: Chain, inner: Merge) -> bool:
    last = branch.steps[-1] if branch.steps else None
    return any(_ends_in(c, inner) for c in last.columns) if isinstance(last, Bundle) else last == inner


def _with_f(branch: Chain, inner: Merge) -> Chain:
    """The branch with ``F`` in place of a join, and in place of its open columns."""
    steps: list[Term] = []
    for step in branch.steps:
        if step == inner or (isinstance(step, Bundle) and step.columns == inner.branches):
            steps.append(_F)
        else:
            steps.append(mapped(step, lambda chain: _with_f(chain, inner)))
    return Chain(tuple(steps))


def _descended(merge: Merge, columns: tuple[Chain, ...]) -> tuple[int, Chain] | None:
    """The level of a join by this recurrence, and its level 1. None if it has another recurrence."""
    for inner in _inner_joins(merge.branches, merge.join):
        if _columns(merge.branches, inner) == columns:
            below = _descended(inner, columns)
            if below is not None:
                return below[0] + 1, below[1]
    base = _solved(merge.branches, columns)
    return (2, base) if base is not None else None


def _solved(branches: Sequence[Chain], columns: Sequence[Chain]) -> Chain | None:
    """The chain that ``F`` stands for, if it turns the recurrence into these branches."""
    for branch, column in zip(branches, columns, strict=False):
        count = column.steps.count(_F)
        rest = len(branch.steps) - (len(column.steps) - count)
        if count and rest > 0 and rest % count == 0:
            start = column.steps.index(_F)
            base = Chain(branch.steps[start : start + rest // count])
            filled = [chain_of(*[base if s == _F else s for s in c.steps]) for c in columns]
            return base if filled == list(branches) else None
    return None
