"""Draws declarations; each may use those above it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from tests.support.programs.blocks import Blocks
from tests.support.programs.meaning import Join, Term, count
from tests.support.programs.pieces import Case, Env, Names, Piece, Rule, TooLarge, filled, name


class Declarations(Blocks):
    """Draws declarations; each may use those above it."""

    def params(self) -> None:
        """Parameters of the file, and lets."""
        ints, probs, lists = [], [], []
        for i in range(self.draw(st.integers(0, 2))):
            value = self.draw(st.integers(1, 5))
            self.lines.append(f"param size{i}: int = {value} in {self.pick(['1..5', '{1, 2, 3, 4, 5}'])}")
            self.env[f"size{i}"] = value
            ints.append(name(f"size{i}"))
        if self.chance():
            self.lines.append("param drop: prob = 15%")
            self.env["drop"] = 0.15
            probs.append(name("drop"))
        values = self.draw(st.lists(st.integers(1, 5), min_size=2, max_size=3))
        self.lines.append(f"param widths: [int] = {values}")
        self.env["widths"] = tuple(values)
        lists.append("widths")
        if self.chance():
            a = self.int(Names(tuple(ints), (), tuple(lists)), 0)
            self.lines.append(f"let wider = [w + {a.tight} for w in widths]")
            self.env["wider"] = tuple([w + a.value(self.env) for w in values])
            lists.append("wider")
        self.globals = Names(tuple(ints), tuple(probs), tuple(lists))
        if self.chance():
            whole = self.int(self.globals)
            self.lines.append(f"let k = {whole.text}")
            self.env["k"] = whole.value(self.env)
            self.globals = replace(self.globals, ints=(*self.globals.ints, name("k")))

    def let_block(self) -> None:
        out = self.int(self.globals)
        piece = self.where(
            self.globals, lambda names: self.block(out, names, 1), lambda names: self.block(out, names, 0)
        )
        if not self.fits(piece, 12):
            return
        let = f"part{len(self.globals.lets)}"
        self.lines.append(f"let {let} = {piece.text}")
        self.env[let] = piece.value(self.env)
        self.globals = replace(self.globals, lets=(*self.globals.lets, name(let)))

    def signature(self) -> tuple[str, Names, dict[str, Piece | None], tuple[str, ...]]:
        """The parameters of a layer or rule: their text, the names that they make, their defaults."""
        defaults: dict[str, Piece | None] = {"out": None}
        parts = ["out: int"]
        names = replace(self.globals, ints=(*self.globals.ints, name("out")))
        if self.chance():
            p = self.prob(self.globals)
            parts.append(f"p: prob = {p.text}")
            defaults["p"] = p
            names = replace(names, probs=(*names.probs, name("p")))
        if self.chance(3):
            act = self.same(self.globals)
            parts.append(f"act: block = {act.text}")
            defaults["act"] = act
            names = replace(names, same=(*names.same, *[name("act")] * 6))
        if self.chance(3):
            parts.append("b: block")
            defaults["b"] = None
        if self.chance():
            values = self.numbers(self.globals)
            parts.append(f"ks: [int] = {values.text}")
            defaults["ks"] = values
            names = replace(names, lists=(*names.lists, "ks"))
        return ", ".join(parts), names, defaults, tuple(defaults)

    def layer_decl(self) -> None:
        text, names, defaults, given = self.signature()
        title = self.pick(["conv", "forward", "class", "x_1", "self"]) + str(len(self.layers) or "")
        if "b" in given:
            names = replace(names, blocks=(name("b"),) * 3)
        body = self.where(
            names, lambda names: self.block(name("out"), names), lambda names: self.block(name("out"), names, 1)
        )
        self.lines.append(f"layer {title}({text}) = {body.text}")
        self.env[title] = self.function(body, defaults)
        self.layers.append((title, given))

    def function(self, body: Piece, defaults: Mapping[str, Piece | None]) -> Callable[[Mapping[str, Any]], Term]:
        """What a call of a layer means: its body under its arguments."""

        def called(args: Mapping[str, Any]) -> Term:
            return body.value({**self.env, **filled(args, defaults, self.env), "@rule": None})

        return called

    def join_decl(self) -> None:
        title = f"close{len(self.joins)}"
        keeps = self.chance()
        if keeps:
            kind, after = self.pick(["mean", "sum", "product", "max", "min", "gated"]), self.same(self.globals)
            self.lines.append(f"join {title} = {kind} >> {after.tight}")
            self.env[title] = Join(kind, after.value(self.env))
        else:
            after = self.base(name("out"))
            self.lines.append(f"join {title}(out: int) = {self.concat} >> {after.text}")
            env = self.env
            self.env[title] = lambda out: Join("concat", after.value({**env, "out": out}), self.dim)
        self.joins.append((title, keeps))

    def rule_decl(self) -> None:
        """A rule: one of some recurrences, its columns drawn."""
        text, names, defaults, given = self.signature()
        title = f"R{len(self.rules)}"
        if "b" in given:
            names = replace(names, blocks=(name("b"),) * 3)
        join, use = self.rule_join(names)
        if join == "j":
            text, given = f"{text}, j: join = max", (*given, "j")
            defaults["j"] = Piece("max", lambda env: Join("max"))
        joined_by = frozenset(re.findall(r"\w+", join)) & {*given}
        rule = Rule(title, given, dict(defaults), use, joined_by, lowest=0)
        self.env[title] = rule
        cases: list[tuple[str | None, int, Piece | None, list[Piece]]] = []

        def low(var: str | None = None, guard: Piece | None = None, level: int = 1) -> None:
            cases.append((var, level, guard, []))

        def high(offset: int, below: Sequence[Piece], guard: Piece | None = None) -> None:
            cases.append(("n", offset, guard, list(below)))

        n = name("n")
        n1, n2 = (Piece(f"n - {k}", lambda env, k=k: env["n"] - k, True) for k in (1, 2))
        up = Piece("n + 1", lambda env: env["n"] + 1, True)
        width = Piece("widths[n % len(widths)]", lambda env: env["widths"][env["n"] % len(env["widths"])])
        half = Piece("n // 2", lambda env: env["n"] // 2, True)
        match self.pick(["one", "one", "two", "zero", "guard", "below"]):
            case "two":
                low(level=1)
                low(level=2)
                high(2, [n, up])
            case "zero":
                low(level=0)
                high(1, [n, half])
            case "guard":
                low(level=1)
                guards = [
                    Piece("n % 2 == 0", lambda env: env["n"] % 2 == 0),
                    Piece("n >= 2 and not (n == 3)", lambda env: env["n"] >= 2 and env["n"] != 3),
                    Piece("n < 2 or n > 2", lambda env: env["n"] != 2),
                ]
                high(1, [n], self.pick(guards))
                high(1, [n])
            case "below":
                low("n", Piece("n <= 1", lambda env: env["n"] <= 1), 0)
                high(0, [n1, n2])
            case _:
                low(level=1)
                high(1, [n])
        rule.lowest = min(c[1] for c in cases if c[0] is None) if any(c[0] is None for c in cases) else 0
        drawn: list[tuple[str, Case]] = []
        for var, offset, guard, below in cases:
            inner = replace(names, ints=(*names.ints, *([up, width] if var else [])))
            body = self.where(
                inner,
                lambda names, below=below: self.bundle(rule, names, below),
                lambda names, below=below: self.bound(rule, names, below),
            )
            level = f"{var}+{offset}" if var and offset else var or str(offset)
            head = f"{title}[{level}]" + (f" when {guard.text}" if guard else "")
            drawn.append((f"    {head} = {body.text}", Case(var, offset, guard, body)))
        if self.chance(3):
            fixed = [d for d in drawn if d[1].var is None]
            drawn = [d for d in drawn if d[1].var is not None] + fixed
        rule.cases = [c for _, c in drawn]
        self.lines.append(f"rule {title}({text}) join {join} {{\n" + "\n".join(t for t, _ in drawn) + "\n}")
        self.rules.append(rule)

    def rule_join(self, names: Names) -> tuple[str, Callable[[Env], Join]]:
        """The join of a rule: its text and its value under the rule's arguments."""
        options: list[tuple[str, Callable[[Env], Join]]] = [
            (kind, lambda env, kind=kind: Join(kind))
            for kind in ("mean", "mean", "sum", "product", "max", "min", "gated")
        ]
        options.append((self.concat, lambda env: Join("concat", dim=self.dim)))
        if self.foreign:
            options += [("spread", lambda env: Join("spread"))] * 3
        options.append(("j", lambda env: env["j"]))
        for title, keeps in self.joins:
            if keeps:
                options.append((title, lambda env, title=title: env[title]))
            else:
                options.append((f"{title}(out)", lambda env, title=title: env[title](env["out"])))
        after = self.same(names)
        options.append((f"(mean >> {after.tight})", lambda env: Join("mean", after.value(env))))
        return self.pick(options)

    def bundle(self, rule: Rule, names: Names, below: Sequence[Piece]) -> Piece:
        """The columns of a case; ``below`` are the levels that it may mention."""
        columns = [self.column(rule, names, below, 2 if below else 0)]
        for _ in range(self.draw(st.integers(0, 2))):
            columns.append(self.column(rule, names, below, self.draw(st.integers(0, 1)) if below else 0))
        return self.side_by_side(columns)

    def bound(self, rule: Rule, names: Names, below: Sequence[Piece]) -> Piece:
        """A value of a case: a block, a mention of the rule itself, or columns, which the rule's join closes."""
        match self.pick(["block", "block", "inner", "columns"]):
            case "inner" if below:
                return self.inner(rule, names, self.pick(below))
            case "columns":
                return self.side_by_side([self.block(name("out"), names, 0) for _ in range(2)])
            case _:
                return self.block(name("out"), names, 1)

    def column(self, rule: Rule, names: Names, below: Sequence[Piece], mentions: int) -> Piece:
        """A column that hands on ``out`` channels, with up to so many mentions of the rule itself."""
        out = name("out")
        steps: list[Piece] = []
        if names.heads and self.chance():
            steps.append(self.head(out, names))
        elif self.chance(6):
            steps.append(self.side_by_side([self.block(out, names, 0), self.block(out, names, 0)]))
        begun = bool(steps)
        for _ in range(mentions):
            inner = self.inner(rule, names, self.pick(below))
            each_of = self.chance(4)
            behind = names.behind if steps else names
            steps.append(self.each_of(self.pick(["sum", "mean"]), out, behind, inner) if each_of else inner)
            if self.chance(4):
                steps.append(self.layer(out, names))
        if not (mentions or begun) or self.chance(4):
            steps.append(self.block(out, names.behind if steps else names, 1))
        return self.annotated(self.flow(*steps), 6)

    def inner(self, rule: Rule, names: Names, level: Piece) -> Piece:
        """A mention of the rule within itself: arguments that are not written stay."""
        args: dict[str, Piece] = {}
        if "p" in rule.given and self.chance(4):
            args["p"] = self.prob(names)
        if "act" in rule.given and self.chance(4):
            args["act"] = self.same(names)
        if "b" in rule.given and self.chance(4):
            args["b"] = self.block(name("out"), replace(names.behind, blocks=()), 0)
        if "ks" in rule.given and self.chance(4):
            args["ks"] = self.numbers(names)
        piece = Piece(
            f"{rule.title}[{level.text}]{self.written(args, rule.given)}",
            lambda env: rule.at(env, level.value(env), {k: v.value(env) for k, v in args.items()}),
        )
        piece = self.annotated(piece, 6)
        return self.annotated(self.each(piece, self.same(names))) if self.chance(6) else piece

    def fits(self, piece: Piece, budget: int) -> bool:
        try:
            Rule.made = 0
            return count(piece.value(self.env)) <= budget
        except TooLarge:
            return False
