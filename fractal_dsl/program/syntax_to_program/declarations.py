"""Check declarations alone, with unknown parameters: errors that do not depend on arguments."""

from __future__ import annotations

from fractal_dsl.language import syntax as s
from fractal_dsl.program.syntax_to_program.binding import checked_value
from fractal_dsl.program.syntax_to_program.cases import has_base, names_of
from fractal_dsl.program.syntax_to_program.fitting import fits
from fractal_dsl.program.syntax_to_program.modules import Module
from fractal_dsl.program.syntax_to_program.rules import join_of
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.termination import check_termination
from fractal_dsl.program.syntax_to_program.termination.reach import reached_cases
from fractal_dsl.program.syntax_to_program.typed import declared_type
from fractal_dsl.program.syntax_to_program.types import Type, Unknown
from fractal_dsl.program.syntax_to_program.values import EnclosingRule, Value, type_of


def check_declarations(module: Module) -> None:
    """Report errors in the layers, joins and rules of a file, and in the parameters of its Python classes."""
    check_termination(module)
    for decl in module.file.decls:
        match decl:
            case s.LayerDecl():
                _check_layer(module, decl)
            case s.RuleDecl():
                _check_rule(module, decl)
            case s.Extern():
                _check_params(module, decl.params)
            case _:
                pass


def _check_params(module: Module, params: tuple[s.Parameter, ...]) -> dict[str, Value]:
    """Parameters as unknown values of their types. Reports errors in their types and defaults."""
    context, result = module.context, dict[str, Value]()
    for param in params:
        name = param.name.id
        if name in result:
            context.report.error("E0202", param.name.span, f"there are two parameters `{name}`")
        type = declared_type(context, param.type)
        if param.default is not None:
            value = module.core.evaluate(param.default, Scope(module, dict(result)))
            checked_value(module.core, value, type, param.default.span, f"`{name}`")
        result[name] = Unknown(type)
    return result


def _check_layer(module: Module, decl: s.LayerDecl) -> None:
    """A layer, or a join."""
    context, core = module.context, module.core
    with context.within(decl.name.id):
        scope = Scope(module, _check_params(module, decl.params))
        context.active.append((decl, None))
        value = core.evaluate(decl.body, scope)
        if decl.is_join:
            core.join(value, decl.body.span)
        else:
            core.block(value, decl.body.span)
        context.active.pop()


def _check_rule(module: Module, decl: s.RuleDecl) -> None:
    context, name = module.context, decl.name.id
    with context.within(name):
        args = _check_params(module, decl.params)
        if decl.join is not None:
            join_of(module.core, decl.join, Scope(module, args))
        reached = {id(case) for case in reached_cases(module, decl)}
        for case in decl.cases:
            _check_head(module, decl, case, args, id(case) in reached)
            _check_case(module, decl, case, args)
        if not decl.cases or not has_base(decl):
            help = f"add a case that does not use `{name}`, such as `{name}[1] = …`"
            context.error("E0403", decl.name.span, f"rule `{name}` has no base case", help=help)


def _check_head(module: Module, decl: s.RuleDecl, case: s.Case, args: dict[str, Value], is_reached: bool) -> None:
    """Check the name, the level and the variable of a case."""
    context, name = module.context, decl.name.id
    if case.rule.id != name:
        help = f"did you mean `{name}`?"
        context.error("E0201", case.rule.span, f"a case of `{case.rule.id}` in rule `{name}`", help=help)
    if not is_reached:
        help = "a case of a fixed level takes precedence, then the first matching case in the file"
        context.error("E0405", case.head, "this case is unreachable: other cases match all its levels", help=help)
    if case.var is not None and case.var.id in args:
        help = f"rename one of them, for example to `{name}[k]`"
        context.error("E0202", case.var.span, f"`{case.var.id}` is already a parameter of the rule", help=help)


def _check_case(module: Module, decl: s.RuleDecl, case: s.Case, args: dict[str, Value]) -> None:
    """Check the guard and the body of a case, with an unknown variable."""
    core = module.core
    names = names_of(case, Unknown(Type("int"), -case.offset), args)
    scope = Scope(module, names, None, EnclosingRule(decl, module, args, Unknown(Type("int"), 0)))
    if case.guard is not None:
        guard = core.evaluate(case.guard, scope)
        if fits(guard, Type("bool")) is None:
            message = f"a guard must be true or false, found {type_of(guard)}"
            core.context.error("E0301", case.guard.span, message)
    core.block(core.evaluate(case.body, scope), case.body.span)
