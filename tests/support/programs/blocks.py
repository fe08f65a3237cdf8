"""Draws blocks that hand on a known number of channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hypothesis import strategies as st

from tests.support.programs.calls import Calls
from tests.support.programs.layers import Op
from tests.support.programs.meaning import Join, Merge, Seq, Term, Use, Value, Where
from tests.support.programs.pieces import Env, Names, Piece, name

_Branch = Callable[[Env, bool], Term]
"""The value of a branch under the names around it; True: it is the only branch of its join."""


class Blocks(Calls):
    """Draws blocks that hand on a known number of channels."""

    def block(self, out: Piece, names: Names, depth: int = 2) -> Piece:
        """Any block that hands on ``out`` channels and takes any number."""
        return self.annotated(self.bare(out, names, depth))

    def bare(self, out: Piece, names: Names, depth: int) -> Piece:
        """The same without annotations around it."""
        if names.heads and self.chance(3):
            return self.head(out, names)
        if depth == 0 or self.chance():
            options = [self.layer(out, names), *(names.blocks if out.text == "out" else ())]
            return self.call(out, names) if self.layers and self.chance() else self.pick(options)
        below = depth - 1
        match self.pick("flow flow merge each_of each_of residual concat repeat seq zip let rule".split()):
            case "flow":
                return self.flow(self.block(self.int(names), names, below), self.block(out, names.behind, below))
            case "merge":
                kind = self.pick(["sum", "mean", "product", "max", "min", "gated"])
                inside = [self.block(out, names, below) for _ in range(self.draw(st.integers(1, 3)))]
                return self.merge(kind, inside, names)
            case "each_of" if self.chance(4):
                return self.flow(self.each_of("concat", self.int(names), names), self.base(out))
            case "each_of":
                return self.each_of(self.pick(["sum", "mean", "product", "max", "min", "gated"]), out, names)
            case "residual":
                shortcut = [self.op("id", "id"), self.block(out, names.behind, below)]
                inner = self.merge(self.pick(["sum", "mean"]), shortcut, names.behind)
                return self.flow(self.layer(out, names), inner)
            case "concat":
                branches = [self.block(self.int(names), names, below) for _ in range(2)]
                return self.flow(self.merge("concat", branches, names), self.base(out))
            case "repeat":
                inner, times = self.block(out, names.behind, below), self.draw(st.integers(1, 2))
                return Piece(f"{inner.tight} ** {times}", lambda env: Seq((inner.value(env),) * times), True)
            case "seq":
                i = Piece("i + 1", lambda env: env["i"] + 1, True)
                inside = replace(names.behind, ints=(*names.ints, i))
                inner, times = self.block(out, inside, 0), self.draw(st.integers(1, 3))
                value = inner.value
                return Piece(
                    f"seq({inner.text} for i in range({times}))",
                    lambda env: Seq(tuple([value({**env, "i": i}) for i in range(times)])),
                )
            case "zip" if names.lists:
                return self.flow(self.zip(names), self.base(out))
            case "let" if names.lets:
                return self.flow(self.pick(names.lets), self.base(out))
            case "rule" if self.rules:
                return self.flow(self.mention(self.pick(self.rules), names), self.base(out))
            case _:
                return self.layer(out, names)

    def head(self, out: Piece, names: Names) -> Piece:
        """A value of the body, with a layer behind it unless it hands on ``out`` channels."""
        value, channels = self.pick(names.heads)
        mention = self.annotated(value)
        return mention if channels == out.text and self.chance(3) else self.flow(mention, self.base(out))

    def where(self, names: Names, body: Callable[[Names], Piece], bound: Callable[[Names], Piece]) -> Piece:
        """A body, now and then with values, which are drawn by ``bound`` and hand on ``out`` channels."""
        values: list[tuple[str, Piece]] = []
        for i in range(self.draw(st.integers(1, 3)) if self.chance(3) else 0):
            values.append((f"a{i}", bound(names)))
            names = replace(names, heads=(*names.heads, (name(f"a{i}"), "out")))
        inside = body(names)
        if not values:
            return inside

        def value(env: Env) -> Where:
            made: list[Value] = []
            for title, piece in values:
                made.append(Value(piece.value(env)))
                env = {**env, title: Use(made[-1])}
            return Where(tuple(made), inside.value(env))

        return Piece(f"{inside.text} where {', '.join(f'{title} = {p.text}' for title, p in values)}", value, True)

    def zip(self, names: Names) -> Piece:
        """A chain over the elements of two lists."""
        a, b = self.pick(names.lists), self.pick(names.lists)
        inner = self.block(name("w"), replace(names.behind, ints=(*names.ints, name("v"))), 0)
        loop = f"for w, v in zip({a}, reversed({b}))" if self.chance() else f"for w, v in zip({b}, reversed({a}))"
        first, second = (a, b) if loop.startswith(f"for w, v in zip({a}") else (b, a)

        def value(env: Env) -> Seq:
            pairs = zip(env[first], reversed(env[second]), strict=True)
            return Seq(tuple([inner.value({**env, "w": w, "v": v}) for w, v in pairs]))

        return Piece(f"seq([{inner.text} {loop}])", value)

    def loop(self, names: Names) -> tuple[str, Callable[[Env], Sequence[int]]]:
        """A list of numbers from 0 up to loop over, often one that is a parameter or depends on the level."""
        if names.lists and self.chance():
            values = self.pick(names.lists[-2:])
            return self.pick([values, f"reversed({values})"]), lambda env: env[values]
        count = self.int(names)
        return f"range({count.tight} % 2 + 1)", lambda env: range(count.value(env) % 2 + 1)

    def each_of(self, join: str, out: Piece, names: Names, inner: Piece | None = None) -> Piece:
        """An inline join with a branch for each element of a list, and now and then one beside them."""
        text, values = self.loop(names)
        v = Piece("v % 3 + 1", lambda env: env["v"] % 3 + 1, True)
        backwards = text.startswith("reversed")
        body = inner or self.block(out, replace(names, ints=(*names.ints, v, v)), 0)
        before = [self.block(out, names, 0)] if not inner and self.chance(3) else []
        used = self.pick([join, *[n for n, keeps in self.joins if keeps and join != "concat"]])
        kind = self.env[used].name if used in self.env else used
        fifths = Piece("v % 3 / 5", _fifths, True)
        inside, branch, drop = self.dropped(kind, body, replace(names, probs=(*names.probs, fifths)))
        loop = f"{inside} for v in {text}"
        listed = before or (used == "concat" and self.sequence)
        arguments = ", ".join([b.text for b in before] + [f"[{loop}]" if listed else loop])
        tail = f", dim={self.dim}" if used == "concat" and self.sequence else ""

        def value(env: Env) -> Merge:
            made = env[used] if used in env else Join(used, dim=self.dim)
            rounds = [{**env, "v": v} for v in (list(values(env))[::-1] if backwards else values(env))]
            alone = len(before) + len(rounds) == 1
            branches = (*[b.value(env) for b in before], *[branch(inner, alone) for inner in rounds])
            return Merge(made, branches, (*[0.0 for _ in before], *map(drop, rounds)))

        return Piece(f"{used}({arguments}{tail})", value)

    def dropped(self, join: str, branch: Piece, names: Names | None) -> tuple[str, _Branch, Callable[[Env], float]]:
        """The text of a branch, its value, and the probability that a training step leaves it out, now and then one.

        A branch that is dropped by example ends in a layer; the only one of a join (``alone``) always stays."""
        value = branch.value
        if names is None or not self.chance(3):
            return branch.text, lambda env, alone: value(env), lambda env: 0.0
        drop = self.prob(names)
        tail = self.pick(["", "", ' @tag("a branch")', " @checkpoint"])
        if join in ("product", "max", "min", "gated") or not self.chance(4):
            return f"{branch.tight} @drop({drop.text}){tail}", lambda env, alone: value(env), drop.value

        def by_example(env: Env, alone: bool) -> Term:
            p = drop.value(env)
            return Seq((value(env), Op("dropout", {"p": p}))) if p and not alone else value(env)

        return f'{branch.tight} @drop({drop.text}, by="example"){tail}', by_example, lambda env: 0.0

    def merge(self, join: str, branches: Sequence[Piece], names: Names | None = None) -> Piece:
        """An inline join, by a built-in join or a declared one of its kind. With ``names``, branches may be dropped."""
        used = self.pick([join, *[n for n, keeps in self.joins if keeps and join != "concat"]])
        listed = len(branches) > 1 and self.chance(4)
        kind = self.env[used].name if used in self.env else used
        drawn = [self.dropped(kind, b, names) for b in branches]
        text = ", ".join(t for t, *_ in drawn)

        def value(env: Env) -> Merge:
            made = env[used] if used in env else Join(used, dim=self.dim)
            inside = tuple([branch(env, len(drawn) == 1) for _, branch, _ in drawn])
            return Merge(made, inside, tuple([drop(env) for *_, drop in drawn]))

        tail = f", dim={self.dim}" if used == "concat" and self.sequence else ""
        return Piece(f"{used}([{text}]{tail})" if listed else f"{used}({text}{tail})", value)

    @property
    def concat(self) -> str:
        """The join that puts channels together."""
        return f"concat(dim={self.dim})" if self.sequence else "concat"


def _fifths(env: Env) -> float:
    return env["v"] % 3 / 5
