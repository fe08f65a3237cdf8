"""Folds repetitions: equal neighbours to ``** n``, and similar ones to a loop over lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from fractal_dsl.importing.cost import cost
from fractal_dsl.importing.generalise import TIMES, Column, generalise, key, renamed
from fractal_dsl.importing.page import Page, Rule
from fractal_dsl.importing.terms import Call, Chain, Loop, Power, Term, Var, rewrite

_LONGEST = 12  # steps of one round
_MOST = 4  # variables
_GAIN = 1  # words
_TWICE = 8  # words that a loop of two rounds must save


def fold_loops(page: Page) -> None:
    """Fold the repetitions in all bodies. No variable of a loop hides a name."""
    taken = [frozenset(page.names() | names) for names in page.parameters()]
    changed: dict[int, Chain] = {}
    for position, body in enumerate(list(page.bodies())):

        def fold(chain: Chain, taken: frozenset[str] = taken[position]) -> Chain:
            return _looped(page, _repeated(page, chain), taken)

        changed[position] = rewrite(body, fold)
    page.change(changed)


def _repeated(page: Page, chain: Chain) -> Chain:
    """The chain with ``** n`` for equal neighbours."""
    steps: list[Term] = []
    rules = {decl.name for decl in page.decls if isinstance(decl, Rule)}
    for step, equal in groupby(chain.steps):
        count = len([*equal])
        inner = isinstance(step, Call) and step.name in rules  # the recurrence reads as in the paper
        steps += [Power(Chain((step,)), count)] if count > 1 and not inner else [step] * count
    return Chain(tuple(steps))


@dataclass
class _Found:
    gain: int
    start: int
    end: int
    loop: Loop | Power


def _looped(page: Page, chain: Chain, taken: frozenset[str]) -> Chain:
    """The chain with loops for similar neighbours, those that save most first."""
    steps = list(chain.steps)
    while True:
        best: _Found | None = None
        for tried in (steps, _as_powers(steps)):
            for length in range(1, min(_LONGEST, len(steps) // 2) + 1):
                for candidate in _rounds(page, tried, length, taken):
                    if best is None or candidate.gain > best.gain:
                        best = candidate
        if best is None or best.gain < _GAIN:
            return Chain(tuple(steps))
        steps[best.start : best.end] = [best.loop]


def _as_powers(steps: Sequence[Term]) -> list[Term]:
    """The steps with ``x ** 1`` for each single x, where others like it are repeated."""
    powers = {key(s.base) for s in steps if isinstance(s, Power)}
    return [Power(Chain((s,)), 1) if key(Chain((s,))) in powers else s for s in steps]


def _rounds(page: Page, steps: Sequence[Term], length: int, taken: frozenset[str]) -> list[_Found]:
    keys = [key(s) for s in steps]
    result: list[_Found] = []
    start = 0
    while start + 2 * length <= len(keys):
        count = 1
        while keys[start + count * length : start + (count + 1) * length] == keys[start : start + length]:
            count += 1
        if count > 1:
            rounds = [Chain(tuple(steps[start + i * length : start + (i + 1) * length])) for i in range(count)]
            loop = _loop(page, rounds, taken)
            if loop is not None:
                before = sum(1 + cost(page, r) for r in rounds) - 1
                before -= sum(2 for r in rounds for s in r.steps if isinstance(s, Power) and s.times == 1)
                gain = before - cost(page, loop) - (_TWICE if count == 2 and isinstance(loop, Loop) else 0)
                result.append(_Found(gain, start, start + count * length, loop))
        start += 1 if count == 1 else max(1, (count - 1) * length)
    return result


def _loop(page: Page, rounds: Sequence[Chain], taken: frozenset[str]) -> Loop | Power | None:
    general = generalise(page, rounds)
    if not general.columns:
        return Power(rounds[0], len(rounds))
    if len(general.columns) > _MOST:
        return None
    names = _names(general.columns, taken)
    body = renamed(general.body, {f"#{i}": Var(name) for i, name in enumerate(names)})
    return Loop(body, tuple(names), tuple([tuple(c.values) for c in general.columns]))


_LETTERS = {"channels": "w", TIMES: "n", "kernel": "k", "stride": "s", "padding": "d", "drop": "p"}


def _names(columns: Sequence[Column], taken: frozenset[str]) -> list[str]:
    """Short names for variables: ``w`` for widths, ``n`` for repetitions."""
    count = Counter(_LETTERS.get(c.kind) for c in columns)
    result: list[str] = []
    for column in columns:
        letter = _LETTERS.get(column.kind)
        name = letter if letter and count[letter] == 1 else column.arg
        base, number = name, 1
        while name in result or name in taken:
            number += 1
            name = f"{base}{number}"
        result.append(name)
    return result
