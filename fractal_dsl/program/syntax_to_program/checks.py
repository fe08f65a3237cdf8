"""Layers and rules checked by themselves, their parameters unknown: what is wrong whatever the arguments."""

from __future__ import annotations

from fractal_dsl.language import syntax as s
from fractal_dsl.program.syntax_to_program import termination
from fractal_dsl.program.syntax_to_program.binding import checked, type_from
from fractal_dsl.program.syntax_to_program.evaluate import Evaluator
from fractal_dsl.program.syntax_to_program.joins import as_join
from fractal_dsl.program.syntax_to_program.modules import Module
from fractal_dsl.program.syntax_to_program.rules import has_base
from fractal_dsl.program.syntax_to_program.scope import Home, Scope
from fractal_dsl.program.syntax_to_program.values import RuleContext, Type, Unknown, Value, fits, type_of


def check_params(ev: Evaluator, home: Home, params: tuple[s.Parameter, ...]) -> dict[str, Value]:
    """Parameters as unknowns of their types; their types and defaults are checked by the way."""
    result: dict[str, Value] = {}
    for param in params:
        if param.name.id in result:
            ev.report.error("E0202", param.name.span, f"there are two parameters `{param.name.id}`")
        type = type_from(ev, param.type)
        if param.default is not None:
            value = ev.eval(param.default, Scope(home, dict(result)))
            checked(ev, value, type, param.default.span, f"`{param.name.id}`")
        result[param.name.id] = Unknown(type)
    return result


def check_layer(ev: Evaluator, home: Home, decl: s.LayerDecl) -> None:
    """Report what is wrong with a layer, or a join, by itself."""
    with ev.within(decl.name.id):
        scope = Scope(home, check_params(ev, home, decl.params))
        ev.active.append((decl, None))
        value = ev.eval(decl.body, scope)
        if decl.is_join:
            as_join(ev, value, decl.body.span)
        else:
            ev.block(value, decl.body.span)
        ev.active.pop()


def check_rule(ev: Evaluator, home: Module, decl: s.RuleDecl) -> None:
    """Report what is wrong with a rule by itself."""
    name = decl.name.id
    with ev.within(name):
        args = check_params(ev, home, decl.params)
        if decl.join is not None:
            as_join(ev, ev.join(decl.join, Scope(home, args)), decl.join.span)
        reached = {id(case) for case in termination.reached(home, decl)}
        for case in decl.cases:
            if case.rule.id != name:
                help = f"did you mean `{name}`?"
                ev.error("E0201", case.rule.span, f"a case of `{case.rule.id}` in rule `{name}`", help=help)
            if id(case) not in reached:
                help = "of the cases that fit a level, one of a fixed level goes first, else the first in the text"
                ev.error("E0405", case.head, "other cases take each level of this one", help=help)
            if case.var is not None and case.var.id in args:
                help = f"call one of them otherwise, such as `{name}[k]`"
                ev.error("E0202", case.var.span, f"`{case.var.id}` is a parameter of the rule already", help=help)
            _check_case(ev, home, decl, case, args)
        if not decl.cases or not has_base(decl):
            help = f"add a case that does not mention `{name}`, such as `{name}[1] = …`"
            ev.error("E0403", decl.name.span, f"rule `{name}` has no base case", help=help)


def _check_case(ev: Evaluator, home: Home, decl: s.RuleDecl, case: s.Case, args: dict[str, Value]) -> None:
    names = dict(args)
    if case.var is not None:
        names[case.var.id] = Unknown(Type("int"), -case.offset)
    scope = Scope(home, names, None, RuleContext(decl, home, args, Unknown(Type("int"), 0)))
    if case.guard is not None:
        guard = ev.eval(case.guard, scope)
        if fits(guard, Type("bool")) is None:
            ev.error("E0301", case.guard.span, f"a guard is true or false, found {type_of(guard)}")
    ev.block(ev.eval(case.body, scope), case.body.span)
