"""Draws mentions of declared layers and rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypothesis import strategies as st

from tests.support.programs.meaning import Bundle, Each, Join
from tests.support.programs.ops import Ops
from tests.support.programs.pieces import Names, Piece, Rule, name, number


class Calls(Ops):
    """Draws mentions of declared layers and rules."""

    def numbers(self, names: Names) -> Piece:
        """A list as long as the other lists."""
        source = self.pick(names.lists)
        made = Piece(f"[w % 3 + 1 for w in {source}]", lambda env: tuple([w % 3 + 1 for w in env[source]]))
        return self.pick([name(source), made])

    def arguments(self, out: Piece, given: tuple[str, ...], names: Names, outs: bool = True) -> dict[str, Piece]:
        """Arguments of a call; those with a default now and then."""
        args: dict[str, Piece] = {"out": out} if outs else {}
        if "p" in given and self.chance():
            args["p"] = self.prob(names)
        if "act" in given and self.chance():
            args["act"] = self.same(names)
        if "b" in given:
            args["b"] = self.layer(out, names)
        if "ks" in given and self.chance():
            args["ks"] = self.numbers(names)
        return args

    def written(self, args: Mapping[str, Piece], given: tuple[str, ...]) -> str:
        """Arguments as text: by position as long as none is left out, or by name."""
        parts: list[str] = []
        position = self.chance()
        for parameter in given:
            position = position and parameter in args
            if parameter in args:
                parts.append(args[parameter].text if position else f"{parameter}={args[parameter].text}")
        return f"({', '.join(parts)})" if parts else ""

    def call(self, out: Piece, names: Names) -> Piece:
        """A call of a declared layer."""
        title, given = self.pick(self.layers)
        inner = replace(names, lets=())
        args = self.arguments(out, given, inner)
        return Piece(
            f"{title}{self.written(args, given)}",
            lambda env: env[title]({k: v.value(env) for k, v in args.items()}),
        )

    def mention(self, rule: Rule, names: Names, level: Piece | None = None, out: Piece | None = None) -> Piece:
        """A mention of a rule outside it."""
        at = level or number(rule.lowest + self.draw(st.integers(0, 1)))
        args = self.arguments(out or self.int(names), rule.given, names)
        if "j" in rule.given and self.chance():
            kind = self.pick(["mean", "sum"])
            args["j"] = Piece(kind, lambda env: Join(kind))
        mention = Piece(
            f"{rule.title}[{at.text}]{self.written(args, rule.given)}",
            lambda env: rule.at(env, at.value(env), {k: v.value(env) for k, v in args.items()}),
        )
        return self.annotated(mention)

    def each(self, mention: Piece, block: Piece) -> Piece:
        """A block on each column."""
        return Piece(f"{mention.tight}.each({block.text})", lambda env: Each(mention.value(env), block.value(env)))

    def side_by_side(self, columns: Sequence[Piece]) -> Piece:
        if len(columns) == 1:
            return columns[0]
        text = " | ".join(c.text for c in columns)
        bundle = Piece(text, lambda env: Bundle(tuple([c.value(env) for c in columns])), True)
        return self.annotated(bundle, 4)
