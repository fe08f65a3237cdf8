"""Draws names, numbers and annotations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from tests.support.programs.pieces import Names, Piece, Rule, number


class Numbers:
    """Draws names, numbers and annotations."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw
        self.lines: list[str] = []
        self.env: dict[str, Any] = {}
        self.globals = Names()
        self.layers: list[tuple[str, tuple[str, ...]]] = []
        self.rules: list[Rule] = []
        self.joins: list[tuple[str, bool]] = []
        self.rank = self.pick([0, 1, 2, 2, 2, 3, 0])
        self.sequence = not self.rank and self.chance()
        self.dim = 2 if self.sequence else 1  # of the channels, where the batch is 0
        self.foreign = self.chance(5)

    def pick(self, options: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def chance(self, one_in: int = 2) -> bool:
        return self.draw(st.integers(0, one_in - 1)) == one_in - 1

    def int(self, names: Names, depth: int = 1) -> Piece:
        """A whole number from 1 up, of no great size."""
        atoms = [number(self.draw(st.integers(1, 5))), *names.ints]
        atoms += [Piece(f"{l}[{i}]", lambda env, l=l, i=i: env[l][i]) for l in names.lists for i in (0, -1)]
        atoms += [Piece(f"len({l})", lambda env, l=l: len(env[l])) for l in names.lists]
        a = self.pick(atoms)
        if not depth or self.chance():
            return a
        b = self.int(names, 0)
        return self.pick(
            [
                Piece(f"{a.tight} + {b.tight}", lambda env: a.value(env) + b.value(env), True),
                Piece(f"{a.tight} // 2 + 1", lambda env: a.value(env) // 2 + 1, True),
                Piece(f"{a.tight} % 3 + 1", lambda env: a.value(env) % 3 + 1, True),
                Piece(f"2 * {b.tight} - 1", lambda env: 2 * b.value(env) - 1, True),
                Piece(f"-(-{a.tight})", lambda env: a.value(env), True),
            ]
        )

    def prob(self, names: Names) -> Piece:
        half = self.pick([Piece("10%", lambda env: 0.1), Piece("0.25", lambda env: 0.25), *names.probs * 3])
        return self.pick([half, Piece(f"{half.tight} / 2", lambda env: half.value(env) / 2, True)])

    def annotated(self, block: Piece, one_in: int = 10) -> Piece:
        """The block, now and then with annotations: they change no meaning."""
        if not self.chance(one_in):
            return block
        text = block.tight
        for _ in range(self.draw(st.integers(1, 2))):
            text += self.pick([' @tag("a part")', ' @tag("t")', " @checkpoint"])
        return Piece(text, block.value, True)
