"""Random well-typed programs, and what they mean.

A program is drawn as text together with its meaning: each piece of text carries a function from the values of
the names around it to its own value, a number or a ``Term``. So parameters, defaults, guards and levels are
evaluated here a second time, by Python, and ``Meaning`` runs the terms by the words of ``language.md``. Nothing
is shared with the compiler but the modules with their weights, in the order of the text.

Every block takes any number of channels and hands on a number that is known (``out``), with the spatial sizes
as they were; poolings stand where the net as a whole leaves room for them. A sequence is [length, features], and
its features are what a block hands on.
"""

from tests.support.programs.drawer import Drawer, programs
from tests.support.programs.meaning import Meaning, column
from tests.support.programs.pieces import Piece, Program

__all__ = ["Drawer", "Meaning", "Piece", "Program", "column", "programs"]
