"""Errors about levels that do not decrease, from the termination check and from expansion."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.program.syntax_to_program.context import Context


def does_not_fall(
    context: Context, name: str, span: Span, path: Sequence[str], *, certain: bool = True, help: str | None = None
) -> None:
    """Report a cycle of the rule ``name``. ``path`` lists its rules with their levels and the layers between them, from
    the first one back to itself."""
    how = "does not decrease here, so the rule would never end" if certain else "may not decrease here"
    message = f"the level of `{name}` {how}: {' -> '.join(path)}"
    context.error("E0404", span, message, help=help or _must_fall(name))


def rises(context: Context, name: str, span: Span, path: Sequence[str]) -> None:
    """Report a call that raises the level of the rule ``name`` without end."""
    message = f"the level of `{name}` increases without end here: {' -> '.join(path)}"
    context.error("E0404", span, message, help=_must_fall(name))


def _must_fall(name: str) -> str:
    return f"write `{name}[n+1] = … {name}[n] …`: a rule must call itself at a lower level"


def is_reported(context: Context, rules: Sequence[s.RuleDecl]) -> bool:
    """Whether a level that does not decrease has been reported in one of these rules."""
    known = [d.span for d in context.report.errors if d.code == "E0404"]
    return any(r.span.start <= at.start < r.span.end for at in known for r in rules)
