"""A program as text: each rule at a level and each user's layer once, before what uses it.

program of FractalNet: f32[3, 32, 32] -> f32[10]
%1 = F[1]: conv2d(out_channels=64, …)
%2 = F[2] join mean: (conv2d(out_channels=64, …) | %1 >> %1)
net = %2 >> flatten >> linear(out_features=10, …)
"""

from __future__ import annotations

from collections.abc import Mapping

from fractal_dsl.base.deep import deep
from fractal_dsl.program import program as p


def dump(program: p.Program) -> str:
    """The program as text, in O(levels) lines."""
    inputs = ", ".join([str(one.tensor) for one in program.inputs])
    outputs = ", ".join([str(one.tensor) for one in program.outputs])
    lines = [f"program of {program.net}: {inputs} -> {outputs}"]
    with deep():
        body = _Dump(lines).text(program.body)
    return "\n".join([*lines, f"net = {body}"]) + "\n"


class _Dump:
    """Adds a line to ``lines`` for each rule instance and layer that a text mentions."""

    def __init__(self, lines: list[str]) -> None:
        self.lines, self.numbers = lines, dict[int, int]()

    def text(self, term: p.Term) -> str:
        """A term on one line."""
        match term:
            case p.Op():
                return _call(term.spec.name, term.args)
            case p.Seq():
                return " >> ".join(map(self.text, term.items)) or "id"
            case p.Bundle():
                return f"({' | '.join(map(self.text, term.columns))})"
            case p.Mention():
                return self._instance(term.instance)
            case p.Each():
                return f"({self.text(term.target)}).each({self.text(term.block)})"
            case p.Merge():
                drops = [f" @drop({drop:g})" if drop else "" for drop in term.drops or [0.0] * len(term.branches)]
                branches = [self.text(b) + drop for b, drop in zip(term.branches, drops, strict=True)]
                return f"{self._join(term.join)} of ({', '.join(branches)})"
            case p.NamedBlock():
                return self._line(term, f"{'shared ' * term.shared}{term.name}", term.body)
            case p.Tagged():
                return f"({self.text(term.body)}) @{term.annotation}({term.value})"
            case p.ValueUse():
                return f"${term.name}"
            case p.Where():
                values = [f"${value.name} = {self.text(value.block)}" for value in term.values]
                return f"({self.text(term.body)} where {', '.join(values)})"
            case p.Outputs():
                return f"({', '.join(map(self.text, term.items))})"
            case p.Hole():
                return "?"

    def _instance(self, instance: p.Instance) -> str:
        join = f" join {self._join(instance.join)}" if instance.join else ""
        return self._line(instance, f"{instance}{join}", instance.body)

    def _join(self, join: p.JoinUse) -> str:
        return _call(join.spec.name, join.args) + (f" >> {self.text(join.after)}" if join.after else "")

    def _line(self, key: object, head: str, body: p.Term) -> str:
        """Define an object on its first use. Return its number."""
        if id(key) not in self.numbers:
            text = self.text(body)
            self.numbers[id(key)] = len(self.numbers) + 1
            self.lines.append(f"%{self.numbers[id(key)]} = {head}: {text}")
        return f"%{self.numbers[id(key)]}"


def _call(name: str, args: Mapping[str, object]) -> str:
    given = ", ".join(f"{key}={value}" for key, value in args.items())
    return f"{name}({given})" if given else name
