"""Fold a program for a picture: repeated sub-fractals become one layer each.

    F[9] = F[8] >> F[8] | conv          F[9] = `F[8] ×2` | conv

A folded sub-fractal keeps its shapes and costs, which are counted from the recurrence. A net of a hundred thousand
layers can be drawn without expanding it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import groupby

from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl.ops import Args, OpSpec, Tensor, TorchModule
from fractal_dsl.program import program as p
from fractal_dsl.program.mentioned import Mentioned
from fractal_dsl.program.terms import instances, mapped, subterms, walk_terms

MeasuredTerm = tuple[Tensor, int, int]
"""A measured term: its output, its parameters, and its multiply-accumulates per sample."""


class Folded(Struct, frozen=True):
    """A program with its sub-fractals up to ``level`` folded."""

    program: p.Program
    level: int


def fold_program(
    program: p.Program,
    most: int,
    measure: Callable[[p.Term, Tensor], MeasuredTerm],
) -> Folded:
    """Fold as few levels as possible so that at most ``most`` boxes remain, or all levels if that is not enough.

    ``measure`` measures a term for an input.
    """
    levels = range(1, 1 + max((i.level for i in instances(program.body)), default=0))
    folded = Folded(_Folder(program, 0, measure).program(), 0)
    for level in levels:
        if boxes(folded.program) <= most:
            break
        folded = Folded(_Folder(program, level, measure).program(), level)
    return folded


def boxes(program: p.Program) -> int:
    """The approximate number of boxes in a picture of the whole net, counted from the recurrence."""
    return _Boxes().of(program.body)


class _Boxes:
    def __init__(self) -> None:
        self.known: dict[int, int] = {}

    def of(self, term: p.Term) -> int:
        if id(term) not in self.known:
            self.known[id(term)] = self._of(term)
        return self.known[id(term)]

    def _of(self, term: p.Term) -> int:
        match term:
            case p.Op() | p.ValueUse() | p.Hole():
                return 1
            case p.NamedBlock() if not _joins(term.body):
                return 1
            case _:
                times, distinct = Counter(map(id, subterms(term))), {id(part): part for part in subterms(term)}
                return isinstance(term, p.Merge) + sum(times[i] * self.of(part) for i, part in distinct.items())


def _joins(term: p.Term) -> bool:
    """Whether a user's layer is more than a plain run of operations, which is drawn as one box."""
    return any(isinstance(part, p.Mention | p.Bundle | p.Each | p.Merge | p.Where) for part in walk_terms(term))


class _Folder:
    def __init__(self, program: p.Program, level: int, measure: Callable[[p.Term, Tensor], MeasuredTerm]) -> None:
        self.whole, self.level, self.measure = program, level, measure
        self.known: dict[int, p.Term] = {}
        self.instances: dict[int, p.Instance] = {}
        self.runs: dict[tuple[int, int], p.Term] = {}
        self.kinds = _Kinds()
        self.mentioned = Mentioned()

    def program(self) -> p.Program:
        """The whole program, folded."""
        return replace(self.whole, body=self.term(self.whole.body))

    def term(self, term: p.Term) -> p.Term:
        """A folded term; the same object on each call."""
        if id(term) not in self.known:
            self.known[id(term)] = self._term(term)
        return self.known[id(term)]

    def _term(self, term: p.Term) -> p.Term:
        match term:
            case p.Mention() if term.instance.level <= self.level and not self.mentioned.of(term).keys:
                return self._closed(term, str(term.instance))
            case p.Mention():
                return p.Mention(self._instance(term.instance), term.inside, term.span)
            case p.Seq():
                return p.Seq(self._items(term.items), term.span)
            case p.Bundle():
                columns = sorted(map(self.term, term.columns), key=_is_folded)  # the deepest column is the last
                return p.Bundle(tuple(columns), term.span)
            case p.Each() if isinstance(target := self.term(term.target), p.Op):
                return self._closed(term, target.spec.name)
            case _:
                return mapped(term, self.term)

    def _instance(self, instance: p.Instance) -> p.Instance:
        if id(instance) not in self.instances:
            body = self.term(instance.body)
            self.instances[id(instance)] = p.Instance(instance.rule, instance.level, instance.join, body)
        return self.instances[id(instance)]

    def _items(self, items: tuple[p.Term, ...]) -> tuple[p.Term, ...]:
        """The items with each run of equal items folded into one layer, except runs of blocks that are drawn."""
        result: list[p.Term] = []
        for alike, group in groupby(items, key=self.kinds.of):
            run = list(group)
            name = _name(self.term(run[0]))
            if len(run) > 1 and name is not None:
                key = (alike, len(run))
                if key not in self.runs:
                    name = f"({name})" if " " in name and not isinstance(run[0], p.Merge) else name
                    self.runs[key] = self._closed(p.Seq(tuple(run), run[0].span), f"{name} ×{len(run)}")
                result.append(self.runs[key])
            else:
                result += map(self.term, run)
        return tuple(result)

    def _closed(self, term: p.Term, name: str) -> p.Op:
        """A term as a single layer with its shapes and costs."""

        def out(x: Tensor, args: Args) -> Tensor:
            return self.measure(term, x)[0]

        def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
            _, params, macs = self.measure(term, x)
            return params, macs

        def construct(x: Tensor, args: Args) -> TorchModule:
            raise AssertionError("a folded program can be drawn, but not run")

        return p.Op(OpSpec(name, (), out, construct, cost, "closed"), {}, term.span)


class _Kinds:
    """A number for each term; terms written alike have equal numbers, wherever they are in the file."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[p.Term, int]] = {}  # keep the term alive, so that its id stays unique
        self.numbers: dict[object, int] = {}

    def of(self, term: p.Term) -> int:
        """The number of a term."""
        if id(term) not in self.known:
            self.known[id(term)] = term, self.numbers.setdefault(self._form(term), len(self.numbers))
        return self.known[id(term)][1]

    def _form(self, term: p.Term) -> object:
        match term:
            case p.Op() if term.spec.family != "closed":
                return "op", term.spec.name, repr(sorted(term.args.items()))
            case p.Seq():
                return "seq", *map(self.of, term.items)
            case p.Merge():
                after = None if term.join.after is None else self.of(term.join.after)
                join = (term.join.spec.name, repr(sorted(term.join.args.items())), after)
                return "merge", join, term.drops, *map(self.of, term.branches)
            case p.ValueUse():
                return "value", term.key
            case p.NamedBlock() if not term.shared:
                return "group", term.name, self.of(term.body)
            case p.Mention():
                return "mention", id(term.instance)
            case _:
                return id(term)


def _is_folded(term: p.Term) -> bool:
    match term:
        case p.Op():
            return term.spec.family == "closed"
        case p.Seq():
            return any(map(_is_folded, term.items))
        case _:
            return False


_LONGEST = 28


def _name(term: p.Term) -> str | None:
    """The name of a run of a term; None if it contains a block that is drawn."""
    match term:
        case p.Op():
            return term.spec.name
        case p.NamedBlock():
            return term.name
        case p.Tagged():
            return _name(term.body)
        case p.Seq():
            names = [_name(item) for item in (*term.items[:2], *term.items[2:][-1:])]
            return _short(names, " >> ", len(term.items) > 3)
        case p.Merge():
            names = [_name(branch) for branch in term.branches]
            inner = _short(names, ", ", False)
            return inner and f"{term.join.spec.name}({inner})"
        case _:
            return None


def _short(names: list[str | None], between: str, left_out: bool) -> str | None:
    """The names as one string. If they are too long, or already shortened, the middle is left out."""
    known = [name for name in names if name is not None]
    if len(known) < len(names) or not known:
        return None
    text = between.join(known)
    return text if len(text) <= _LONGEST and not left_out else f"{known[0]} … {known[-1]}"
