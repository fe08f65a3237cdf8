"""The body of ``forward`` of a region: a line for each statement, with conditions around branches that training may
leave out."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from fractal_dsl.codegen.graph_to_source.branches import Branch, around, arranged, branches_of
from fractal_dsl.codegen.graph_to_source.names import distinct
from fractal_dsl.codegen.graph_to_source.regions import Region, Statement


def forward(region: Region, attributes: Mapping[int, Sequence[str]], names: Sequence[str] = ("x",)) -> str:
    """The body. ``attributes`` names what a join with branches to leave out reads: the probabilities, and sizes.
    ``names`` are the names of the inputs."""
    return _Forward(region, attributes, names).text()


class _Forward:
    def __init__(self, region: Region, attributes: Mapping[int, Sequence[str]], names: Sequence[str]) -> None:
        self.region, self.statements, self.attributes = region, arranged(region.statements), attributes
        self.last_use = {o: i for i, s in enumerate(self.statements) for o in s.operands}
        self.last_use |= dict.fromkeys(region.outputs, len(self.statements))
        self.held: dict[str, int] = dict(zip(names, region.inputs, strict=True))
        self.variable: dict[int, str] = dict(zip(region.inputs, names, strict=True))
        self.branch = branches_of(self.statements)
        self.keep: dict[int, str] = {}  # of the joins whose branches are drawn, but not joined yet

    def text(self) -> str:
        lines = [*self._lines(range(len(self.statements)), 0)]
        outputs = ", ".join([self.variable[number] for number in self.region.outputs])
        return "\n".join([*lines, f"return {outputs}"])

    def _lines(self, places: Sequence[int], depth: int) -> Iterator[str]:
        """The lines of some statements that are ``depth`` branches deep."""
        for branch, part in groupby(places, lambda i: around(self.branch, i)[depth:][:1]):
            inside = list(part)
            if branch:
                yield from self._condition(branch[0], inside, depth)
                continue
            for i in inside:
                yield from self._draw(i)
                yield self._line(i)

    def _draw(self, join: int) -> Iterator[str]:
        """The line that draws the branches of a join, before the first of them."""
        number = self.statements[join].result
        if number in self.attributes and join not in self.keep:
            self.keep[join] = distinct("keep", {*self.keep.values()})
            s, drawn = self.statements[join], f"self.{self.attributes[number][0]}"
            how = f"{drawn}, self.training"
            if s.local is not None:
                mean = s.join is not None and s.join.spec.name == "mean"
                how = f"self, {drawn}, {len(s.operands)}, {s.local}, {mean}"
            yield f"{self.keep[join]} = {s.draw}({how})"

    def _condition(self, branch: Branch, inside: Sequence[int], depth: int) -> Iterator[str]:
        join, slot = branch
        yield from self._draw(join)
        lines = [*self._lines(inside, depth + 1)]
        result = self.variable[self.statements[join].operands[slot]]
        run = f"{self.keep[join]}[{slot}]"
        if len(lines) == 1:
            yield f"{lines[0]} if {run} else None"
            return
        yield f"if {run}:"
        yield from (textwrap.indent(line, "    ") for line in lines)
        yield "else:"
        yield f"    {result} = None"

    def _line(self, place: int) -> str:
        s = self.statements[place]
        reads = [self.variable[o] for o in s.operands]
        name = _lane(s)
        while name in self.held and self.last_use[self.held[name]] > place:
            match = re.fullmatch(r"(.*?)_(\d+)", name)
            name = f"{match[1]}_{int(match[2]) + 1}" if match else f"{name}_2"
        self.held[name], self.variable[s.result] = s.result, name
        keep = self.keep.pop(place, None)
        return f"{name} = {_call(s, reads) if keep is None else _dropped(s, reads, keep, self.attributes[s.result])}"


def _lane(s: Statement) -> str:
    """The variable of a value: one for each column, ``x`` outside the columns, ``z`` for joins."""
    match = re.match(r"column(\d+)\.", s.path)
    if s.join is not None:
        return "z"
    return f"c{match[1]}" if match else "x"


def _call(s: Statement, reads: Sequence[str]) -> str:
    if s.join is None or s.target:
        return f"self.{s.path}({', '.join(reads)})"
    match s.join.spec.name:
        case "mean":
            return f"({' + '.join(reads)}) / {len(reads)}"
        case "sum":
            return " + ".join(reads)
        case "product":
            return " * ".join(reads)
        case "max" | "min" as name:
            result = reads[0]
            for read in reads[1:]:
                result = f"torch.{name}imum({result}, {read})"
            return result
        case _:
            return f"torch.cat([{', '.join(reads)}], {s.join.args['dim']})"


def _dropped(s: Statement, reads: Sequence[str], keep: str, attributes: Sequence[str]) -> str:
    """The call of a join that may lack branches."""
    assert s.join is not None
    first = [f"self.{s.path}"] if s.target else []
    if s.join.spec.name == "concat":
        first = [str(s.join.args["dim"]), f"self.{attributes[1]}"]
    call = f"{s.helper}({', '.join([*first, keep, *reads])})"
    return f"{call} / {len(reads)}" if s.join.spec.name == "mean" else call
