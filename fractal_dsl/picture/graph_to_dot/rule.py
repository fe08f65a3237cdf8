"""An expansion rule as a picture, from its terms: the left of the paper's figure 1.

A use of a rule is one closed box with its text from the file, ``F[n]``. Nothing is expanded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count

from fractal_dsl.base.errors import UserError
from fractal_dsl.picture.graph_to_dot.frames import framed
from fractal_dsl.picture.graph_to_dot.tree import Item, Leaf, Parallel, Series
from fractal_dsl.picture.graph_to_dot.units import FrameKey, FrameText, Unit, drop_text, op_text, window_text
from fractal_dsl.program import program as p
from fractal_dsl.program.terms import instances, subterms


def rule_trees(program: p.Program, rule: str | None) -> list[tuple[str, Series]]:
    """The title and the tree of each case that the net uses of its first rule, or of ``rule``: simplest case first.

    Raises UserError if the net has no such rule.
    """
    rules = {instance.rule: instance for instance in reversed(list(instances(program.body)))}
    if not rules or (rule is not None and rule not in rules):
        has = f"its rules are {', '.join(reversed(rules))}" if rules else "draw it with `--view net`"
        raise UserError(f"net {program.net} has no rule{f' {rule}' if rule else ''}: {has}")
    top = rules[rule] if rule is not None else next(reversed(rules.values()))
    cases: dict[p.Span, p.Instance] = {}
    for instance in (top, *instances(top.body)):
        if instance.rule == top.rule:
            cases.setdefault(instance.body.span, instance)
    trees: list[tuple[str, Series]] = []
    for instance in reversed(cases.values()):
        title, drawer = _title(program, instance), _Drawer(program)
        trees.append((title, drawer.case(title, instance)))
        trees += drawer.values
    return trees


def _title(program: p.Program, instance: p.Instance) -> str:
    """The head of a case as it is written: ``F[n+1]``."""
    span = instance.body.span
    source = program.sources.at(span)
    before = source.text[: span.start - source.base]
    head = re.search(r"(\w+\s*\[[^\]]*\])\s*(?:when\b[^=]*(?:==[^=]*)?)?=[\s(]*$", before)
    return head[1] if head else str(instance)


class _Drawer:
    """Draws one case and numbers its boxes."""

    def __init__(self, program: p.Program) -> None:
        self.program, self.numbers = program, count()
        self.tags: tuple[FrameKey, ...] = ()  # around the current term
        self.texts: dict[FrameKey, FrameText] = {}
        self.values: list[tuple[str, Series]] = []  # of the case, each as a picture of its own

    def case(self, title: str, instance: p.Instance) -> Series:
        return self._whole(title, instance.body, instance)

    def _whole(self, title: str, term: p.Term, instance: p.Instance) -> Series:
        start = self._leaf("input", "z", "input")
        body = self._closed(term, instance)
        end = self._leaf("output", f"{title}(z)", "output")
        return framed(Series((start, *body, end)), self.texts)

    def _closed(self, term: p.Term, instance: p.Instance) -> tuple[Item, ...]:
        """The items of a term, with the bar that closes the columns at its end."""
        items = self._items(term, instance)
        if not isinstance(items[-1], Parallel):
            return items
        assert instance.join is not None
        return (*items, *self._join(instance.join, instance))

    def _items(self, term: p.Term, instance: p.Instance) -> tuple[Item, ...]:
        match term:
            case p.Op() if term.spec.name == "id":
                return (self._leaf("skip", "", "shape"),)
            case p.Op():
                label = " ".join(filter(None, (op_text(term.spec, term.args), window_text([(term.spec, term.args)]))))
                return (self._leaf("layer", label, term.spec.family),)
            case p.NamedBlock():
                ops = list(_ops(term.body))
                family = next(
                    (op.spec.family for op in ops if op.spec.weighted), ops[0].spec.family if ops else "shape"
                )
                label = " ".join(filter(None, (term.name, window_text([(op.spec, op.args) for op in ops]))))
                return (self._leaf("layer", label, family),)
            case p.Mention():
                text = self.program.sources.slice(term.span).partition("]")[0]
                return (self._leaf("closed", f"{text}]" if "[" in text else str(term.instance), "closed"),)
            case p.Seq():
                last = len(term.items) - 1
                parts = [
                    self._items(t, instance) if i == last else self._closed(t, instance)
                    for i, t in enumerate(term.items)
                ]
                return tuple(item for part in parts for item in part) or (self._leaf("skip", "", "shape"),)
            case p.Bundle():
                ordered = sorted(term.columns, key=p.opens)  # the deep columns on the right
                return (self._parallel([self._closed(c, instance) for c in ordered], lanes=True),)
            case p.Merge():
                branches = [self._closed(b, instance) for b in term.branches]
                bar = f"{term.join.spec.name} {drop_text(term.drops)}".rstrip()
                return (self._parallel(branches, lanes=False), *self._join(term.join, instance, bar))
            case p.Each():
                return (*self._closed(term.target, instance), *self._closed(term.block, instance))
            case p.Tagged():
                return self._tagged(term, instance)
            case p.Where():
                self.values += self._panels(term, instance)
                return self._items(term.body, instance)
            case p.ValueUse():
                return (self._leaf("closed", term.name, "closed"),)
            case p.Outputs() | p.Hole():
                raise AssertionError("no rule has outputs, and a program with errors is not drawn")

    def _tagged(self, term: p.Tagged, instance: p.Instance) -> tuple[Item, ...]:
        if term.annotation != "tag":
            return self._items(term.body, instance)
        around, key = self.tags, ("tag", len(self.texts) + 1)
        self.texts[key] = FrameText(f"@{term.value}", (term.value,))
        self.tags = (*around, key)
        items = self._items(term.body, instance)
        self.tags = around
        return items

    def _panels(self, term: p.Where, instance: p.Instance) -> list[tuple[str, Series]]:
        """A picture for each value of a body, outside of the frames around that body."""
        around, self.tags = self.tags, ()
        panels = [(value.name, self._whole(value.name, value.block, instance)) for value in term.values]
        self.tags = around
        return panels

    def _parallel(self, branches: list[tuple[Item, ...]], *, lanes: bool) -> Parallel:
        held = tuple(frozenset({i}) for i, _ in enumerate(branches)) if lanes else ()
        return Parallel(tuple(map(Series, branches)), held)

    def _join(self, join: p.JoinUse, instance: p.Instance, label: str | None = None) -> tuple[Item, ...]:
        usual = join.spec.name if join.spec.name != "mean" else ""
        bar = self._leaf("join", usual if label is None else label, "join")
        return (bar, *(self._closed(join.after, instance) if join.after is not None else ()))

    def _leaf(self, kind: str, label: str, family: str) -> Leaf:
        number = next(self.numbers)
        assert kind in ("input", "output", "layer", "closed", "skip", "join")
        return Leaf(number, Unit(kind, label, family, (number,), "", None, None, self.tags))


def _ops(term: p.Term) -> Iterator[p.Op]:
    """The built-in layers of a term, without those that rules place."""
    match term:
        case p.Op():
            yield term
        case p.Seq() | p.Merge() | p.NamedBlock() | p.Tagged() | p.Where():
            for part in subterms(term):
                yield from _ops(part)
        case _:
            return
