"""The cases of a rule: which ones match a level, whether one ends the recursion, and errors if none matches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.language.walk import SyntaxNode, parts
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.types import ANY
from fractal_dsl.program.syntax_to_program.values import Value, type_of


def candidates(decl: s.RuleDecl, level: int) -> Iterator[tuple[s.Case, int]]:
    """The cases that match a level, guards aside, each with the value of its variable, in the order they are tried.

    A case of a fixed level comes first."""
    for case in sorted(decl.cases, key=lambda c: c.var is not None):
        n = level - case.offset
        if n == 0 or (n > 0 and case.var is not None):
            yield case, n


def names_of(case: s.Case, n: Value, args: Mapping[str, Value]) -> Mapping[str, Value]:
    """The local names of a case: the arguments of its rule, and its variable with the value ``n``."""
    return {**args, case.var.id: n} if case.var is not None else args


def guard_allows(context: Context, guard: s.Expr, value: Value) -> bool | None:
    """The truth value of a guard; None, after an error, if it is not a boolean."""
    if not isinstance(value, bool):
        if value is not ANY:
            context.error("E0301", guard.span, f"a guard must be true or false, found {type_of(value)}")
        return None
    return value


def has_base(decl: s.RuleDecl) -> bool:
    """Whether some case ends the recursion: a fixed level, a guard, or a body that uses the rule nowhere, or only in
    loops, which may run over an empty list."""
    name = decl.name.id
    return any(c.var is None or c.guard is not None or not _needs(c.body, name) for c in decl.cases)


def _needs(node: SyntaxNode, name: str) -> bool:
    """Whether an expression uses a name outside loops over lists that may be empty."""
    if isinstance(node, s.Comprehension) and not isinstance(node.iterable, s.Items):
        return _needs(node.iterable, name)
    return (isinstance(node, s.Name) and node.id == name) or any(_needs(part, name) for part in parts(node))


def no_case(context: Context, decl: s.RuleDecl, level: int, span: Span) -> None:
    """Report a level that no case matches. A rule without a base case is another error."""
    if not has_base(decl):
        return
    name, heads = decl.name.id, ", ".join([_head(context, c) for c in decl.cases])
    end = _missing_end(context, decl, level)
    help = f"its cases are {heads}" + (f"; add the base case `{name}[{end}] = …`" if end else "")
    context.error("E0403", span, f"no case of `{name}` matches level {level}", help=help)


def _missing_end(context: Context, decl: s.RuleDecl, level: int) -> int | None:
    """The lowest positive level without a case of its own on the way down to ``level``, below all cases; else None."""
    fixed = [c.offset for c in decl.cases if c.var is None and c.guard is None]
    above = [at for d, at in context.active if d is decl and at is not None and at != level]
    if not above or level >= min(fixed, default=1):
        return None
    return min([at for at in (level, *above) if at > 0 and at not in fixed], default=None)


def _head(context: Context, case: s.Case) -> str:
    """The head of a case for messages, with its guard as written."""
    level = str(case.offset)
    if case.var is not None:
        level = case.var.id + (f"+{case.offset}" if case.offset else "")
    guard = context.written(case.guard.span) if case.guard is not None else ""
    return f"{case.rule.id}[{level}]" + (f" when {guard}" if guard else "")
