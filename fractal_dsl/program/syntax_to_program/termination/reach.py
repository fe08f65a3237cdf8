"""Reachability of the cases of a rule."""

from __future__ import annotations

from fractal_dsl.language import syntax as s
from fractal_dsl.program.syntax_to_program.limits import MAX_LEVEL, MAX_WORK
from fractal_dsl.program.syntax_to_program.modules import Module
from fractal_dsl.program.syntax_to_program.termination.numbers import Number, number


def reached_cases(module: Module, rule: s.RuleDecl) -> list[s.Case]:
    """The cases of a rule that some level reaches, for some parameters of the file and of the rule."""
    names: dict[str, Number] = dict.fromkeys([*module.decls, *[q.name.id for q in rule.params]])
    reached = {id(c): c for c in rule.cases if c.offset > MAX_LEVEL}
    relative = [c for c in rule.cases if c.var is not None]
    fixed: dict[int, list[s.Case]] = {}
    for case in rule.cases:
        if case.var is None:
            fixed.setdefault(case.offset, []).append(case)
    steps = 0
    for level in range(MAX_LEVEL + 1):
        for case in [*fixed.get(level, ()), *relative]:
            n = level - case.offset
            if n < 0:
                continue
            if case.var is not None:
                names[case.var.id] = n
            steps += 1
            unknown = case.guard is None or steps > MAX_WORK // 10
            allowed = True if unknown else number(case.guard, names, module.values)
            if allowed is not False:
                reached[id(case)] = case
            if allowed is True:
                break
    return list(reached.values())
