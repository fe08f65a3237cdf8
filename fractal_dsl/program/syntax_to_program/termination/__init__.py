"""The termination check: every cycle of calls between the rules of a file lowers the level, used by a net or not.

In: the declarations of a file. Out: errors in its ``Report``; nothing is evaluated.
Not imported here: torch, ``graph`` and above.

Two searches find violations:

- ``relative`` follows calls relative to the case's own level. ``F[n+1] = … F[n] …`` changes it by -1, and around a
  cycle the changes must add up to -1 or less.
- ``absolute`` follows calls between rules at levels: none may reach itself. The search starts at each level written as
  a number, and at all levels of rules that can reach themselves by another kind of level, such as ``F[n // 2]``.

``rule_calls`` reads calls from the syntax, ``numbers`` reads their levels, ``call_graph`` finds cycles. The check at
expansion, in ``rules``, handles a case whose guard depends on arguments.
"""

from __future__ import annotations

from fractal_dsl.language import syntax as s
from fractal_dsl.program.syntax_to_program.modules import Module
from fractal_dsl.program.syntax_to_program.termination.absolute import check_absolute
from fractal_dsl.program.syntax_to_program.termination.relative import check_relative
from fractal_dsl.program.syntax_to_program.termination.rule_calls import Reader


def check_termination(module: Module) -> None:
    """Report each cycle between rules of the file around which the level does not decrease, at one of its calls."""
    rules = [d for d in module.file.decls if isinstance(d, s.RuleDecl)]
    reader = Reader(module)
    reported = check_relative(module.context, reader, rules)
    check_absolute(module, reader, rules, reported)
