"""Messages on levels that do not fall, from the termination check and from expansion."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.program.syntax_to_program.context import Context


def does_not_fall(
    context: Context, name: str, span: Span, path: Sequence[str], *, certain: bool = True, help: str | None = None
) -> None:
    """Report a cycle of the rule ``name``; ``path`` names its rules at their levels, and the layers between, the
    first one again at the end."""
    how = "does not fall here, so the rule would never end" if certain else "is not certain to fall here"
    message = f"the level of `{name}` {how}: {' -> '.join(path)}"
    context.error("E0404", span, message, help=help or _must_fall(name))


def rises(context: Context, name: str, span: Span, path: Sequence[str]) -> None:
    """Report a mention that takes the rule ``name`` over every limit."""
    message = f"the level of `{name}` rises over every limit here: {' -> '.join(path)}"
    context.error("E0404", span, message, help=_must_fall(name))


def _must_fall(name: str) -> str:
    return f"a rule reads `{name}[n+1] = … {name}[n] …`: on the way back to itself its level must fall"


def is_reported(context: Context, rules: Sequence[s.RuleDecl]) -> bool:
    """Whether a level that does not fall is reported in one of these rules already."""
    known = [d.span for d in context.report.found if d.code == "E0404"]
    return any(r.span.start <= at.start < r.span.end for at in known for r in rules)
