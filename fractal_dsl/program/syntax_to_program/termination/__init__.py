"""Whether every cycle of calls between the rules of a file lowers the level, whether a net uses them or not.

Two searches tell:

- between rules, over mentions relative to the case's own level (``relative``): ``F[n+1] = … F[n] …`` changes it by -1,
  and around a cycle the changes must add up to -1 or less;
- between rules at levels (``absolute``): none may come back to itself. It starts at each level that is written as a
  number; and at all levels of rules that can come back to themselves by a level written otherwise, such as
  ``F[n // 2]``.

``rule_calls`` reads the mentions from the text, ``numbers`` reads their levels, ``call_graph`` finds cycles. A case
whose guard depends on arguments is left to the check at expansion, in ``rules``.
"""

from __future__ import annotations

from fractal_dsl.language import syntax as s
from fractal_dsl.program.syntax_to_program.modules import Module
from fractal_dsl.program.syntax_to_program.termination.absolute import check_absolute
from fractal_dsl.program.syntax_to_program.termination.relative import check_relative
from fractal_dsl.program.syntax_to_program.termination.rule_calls import Reader


def check_termination(module: Module) -> None:
    """Report, at a mention in it, each cycle between rules of the file around which the level does not fall."""
    rules = [d for d in module.file.decls if isinstance(d, s.RuleDecl)]
    reader = Reader(module)
    reported = check_relative(module.context, reader, rules)
    check_absolute(module, reader, rules, reported)
