"""The domains of file parameters: ``in 1..8``, ``in {"a", "b"}``."""

from __future__ import annotations

from msgspec import Struct

from fractal_dsl.language import syntax as s
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.core import Core
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.typed import conforming, elements
from fractal_dsl.program.syntax_to_program.types import NUMBERS, Type, Unknown
from fractal_dsl.program.syntax_to_program.values import Declarations, Value, show


class Domain(Struct, frozen=True):
    """The values that a parameter may have: ``allowed``, or the numbers from ``low`` to ``high``."""

    allowed: tuple[Value, ...] = ()
    low: Value = None
    high: Value = None

    def __contains__(self, value: Value) -> bool:
        return value in self.allowed if self.low is None else self.low <= value <= self.high

    def __str__(self) -> str:
        if self.low is None:
            return "{" + ", ".join(map(show, self.allowed)) + "}"
        return f"{show(self.low)}..{show(self.high)}"


def domain_of(core: Core, module: Declarations, decl: s.Param, item: Type) -> Domain | None:
    """The domain of a parameter with elements of type ``item``; None if it has none, or after an error."""
    context, domain = core.context, decl.domain
    if domain is None or item.name == "any":
        return None
    is_range = isinstance(domain, s.RangeDomain)
    if is_range and item.name not in NUMBERS:
        values = '"a", "b"' if item.name == "str" else "true, false"
        message, help = f"a range needs numbers, found {item}", f"write a set: {{{values}}}"
        context.error("E0301", domain.span, message, help=help)
        return None
    exprs = (domain.low, domain.high) if is_range else domain.values
    subject, scope = f"the domain of `{decl.name.id}`", Scope(module)
    values = [conforming(context, core.evaluate(e, scope), item, e.span, subject) for e in exprs]
    if any(v is None or isinstance(v, Unknown) for v in values):
        return None
    return _range(context, domain, values) if is_range else _set(context, domain, values, subject)


def _range(context: Context, expr: s.RangeDomain, ends: list[Value]) -> Domain | None:
    low, high = ends
    if low <= high:
        return Domain(low=low, high=high)
    help = f"write the lower end first: `{show(high)}..{show(low)}`"
    context.error("E0302", expr.span, f"the range {show(low)}..{show(high)} is empty", help=help)
    return None


def _set(context: Context, expr: s.SetDomain, values: list[Value], subject: str) -> Domain:
    for i, value in enumerate(values):
        if value in values[:i]:
            context.error("E0302", expr.values[i].span, f"{subject} contains {show(value)} twice")
    return Domain(tuple(values))


def in_domain(context: Context, domain: Domain | None, value: Value, subject: str, expr: s.Expr) -> bool:
    """Whether a value, or each element of a list, is in the domain. Reports if not."""
    for part, span in elements(value, expr, expr.span):
        if domain is not None and not isinstance(part, Unknown) and part not in domain:
            context.error("E0302", span, f"{subject} must be in {domain}, found {show(part)}")
            return False
    return True
