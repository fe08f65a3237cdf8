"""Which statements of a region belong to branches that training may leave out, and in which order they stand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush

from fractal_dsl.codegen.graph_to_source.regions import Statement

Branch = tuple[int, int]
"""A branch: the place of its join among the statements, and the branch's place at the join."""


def branches_of(statements: Sequence[Statement]) -> dict[int, Branch]:
    """The innermost branch that training may leave out around each statement.

    A statement is in a branch if nothing but the branch and its end reads the result.
    """
    place = {s.result: i for i, s in enumerate(statements)}
    readers: dict[int, set[Branch]] = defaultdict(set)
    for i, s in enumerate(statements):
        for slot, operand in enumerate(s.operands):
            if operand in place:
                readers[place[operand]].add((i, slot))
    branches: dict[int, Branch] = {}
    for i in reversed(range(len(statements))):
        for slot, drop in enumerate(statements[i].may_drop):
            inside: set[int] = set()
            for k in reversed(range(i if drop else 0)):
                if readers[k] and all(reader == (i, slot) or reader[0] in inside for reader in readers[k]):
                    inside.add(k)
            branches |= dict.fromkeys(inside, (i, slot))
    return branches


def around(branch: Mapping[int, Branch], place: int) -> list[Branch]:
    """The branches around a statement, outermost first."""
    inner = branch.get(place)
    return [*around(branch, inner[0]), inner] if inner else []


def arranged(statements: Sequence[Statement]) -> list[Statement]:
    """The statements in an order in which those of a branch are neighbours, otherwise as they stand.

    What a branch reads from outside stands before the branch. Nothing outside reads what is inside, so there is such an
    order.
    """
    if not any(any(s.may_drop) for s in statements):
        return list(statements)
    branch = branches_of(statements)
    path = [around(branch, i) for i in range(len(statements))]
    place = {s.result: i for i, s in enumerate(statements)}
    reads = [[place[o] for o in s.operands if o in place] for s in statements]
    return [statements[i] for i in _sorted(range(len(statements)), 0, path, reads)]


def _sorted(
    places: Sequence[int], depth: int, path: Sequence[Sequence[Branch]], reads: Sequence[Sequence[int]]
) -> list[int]:
    """Sort statements that are ``depth`` branches deep: a branch within them counts as one, at its last statement."""
    groups: dict[int | Branch, list[int]] = defaultdict(list)
    group: dict[int, int | Branch] = {}
    for i in places:
        group[i] = path[i][depth] if len(path[i]) > depth else i
        groups[group[i]].append(i)
    before = {g: {group[o] for i in inside for o in reads[i] if o in group} - {g} for g, inside in groups.items()}
    after: dict[int | Branch, list[int | Branch]] = defaultdict(list)
    for g, others in before.items():
        for other in others:
            after[other].append(g)
    missing = {g: len(others) for g, others in before.items()}
    key = {inside[-1]: g for g, inside in groups.items()}
    ready = [inside[-1] for g, inside in groups.items() if not missing[g]]
    heapify(ready)
    result: list[int] = []
    while ready:
        g = key[heappop(ready)]
        result += groups[g] if isinstance(g, int) else _sorted(groups[g], depth + 1, path, reads)
        for other in after[g]:
            missing[other] -= 1
            if not missing[other]:
                heappush(ready, groups[other][-1])
    return result
