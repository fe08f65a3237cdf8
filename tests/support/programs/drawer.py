"""Draws a program from top to bottom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.support.programs.declarations import Declarations
from tests.support.programs.layers import Op
from tests.support.programs.meaning import Outputs, Seq, Term, Use, Value, Where, count
from tests.support.programs.pieces import MAX_LAYERS, Env, Piece, Program, Rule, name, number


class Drawer(Declarations):
    """Draws a program from top to bottom."""

    def program(self) -> Program:
        """The whole program."""
        if self.chance():
            self.lines.append("frac 1")
        if self.foreign:
            self.lines.append('extern layer scaled(k: float) from "tests.support.parts:Scaled"')
            self.lines.append('extern join spread from "tests.support.parts:Spread"')
        self.params()
        for _ in range(self.draw(st.integers(0, 4))):
            self.pick([self.layer_decl, self.join_decl, self.rule_decl, self.let_block])()
        self.rule_decl()
        size = [self.draw(st.integers(4, 8 if self.rank < 3 else 5)) for _ in range(self.rank)]
        channels = self.draw(st.integers(1, 4))
        shape = (channels, self.draw(st.integers(1, 4))) if self.sequence else (channels, *size)
        tokens = 6 if self.sequence and self.chance() else 0
        budget = MAX_LAYERS
        stages: list[Piece] = []
        for _ in range(self.draw(st.integers(1, 3))):
            stage, size = self.stage(size, budget)
            if stage is not None:
                Rule.made = 0
                budget -= count(stage.value(self.env))
                stages.append(stage)
        classes = self.int(self.globals)
        head = [self.op(f"linear({classes.text})", "linear", out=classes, bias=True)]
        if self.rank or self.sequence:
            ends = ["flatten", "reshape(-1)", "global_avgpool", *["last_step", "sequence_mean"] * self.sequence]
            end = self.pick(ends)
            head.insert(0, self.op(end, end.partition("(")[0]))
        if tokens:
            shape = shape[:1]
            whole = self.merge("max", [self.op("id", "id")] * 2)
            width = self.int(self.globals)
            table = self.op(f"embedding({tokens}, {width.text})", "embedding", count=tokens)
            stages[:0] = [table] if self.joins or self.chance() else [whole, table]
        inputs: dict[str, tuple[int, ...]] = {"x": shape}
        if not tokens and self.chance(4):
            inputs = {"left": shape, "right": (self.draw(st.integers(1, 4)), *shape[1:])}
            if self.sequence:
                inputs["right"] = (shape[0], self.draw(st.integers(1, 4)))
        values = {title: Value(Op("id", {})) for title in inputs}
        self.env |= {title: Use(value) for title, value in values.items()}
        if len(inputs) > 1:
            width = self.int(self.globals)
            branches = [self.flow(name(title), self.base(width)) for title in inputs]
            stages.insert(0, self.merge(self.pick(["sum", "mean", "concat"]), branches))
        elif self.chance(6):
            stages.insert(0, name("x"))
        body, outputs = self.ends(stages, head, classes)
        options = self.pick(
            [
                "",
                ' with init("xavier")',
                " with drop_path(local=15%, global=50%)",
                ' with drop_path(30%), init("kaiming")',
                " with drop_path(local=10%, columns=all)",
            ]
        )
        declared = ", ".join(
            f"{title}: {'i64' if tokens else 'f32'}[{', '.join(map(str, sizes))}]" for title, sizes in inputs.items()
        )
        types = [f"f32[{one.text}]" for one in outputs]
        if len(types) > 1 and self.chance(2):
            types = [f"{title}: {type}" for title, type in zip(("main", "aux"), types, strict=True)]
        result = types[0] if len(types) == 1 else f"({', '.join(types)})"
        self.lines.append(f"net N({declared}) -> {result}{options}\n    = {body.text}")
        return Program(
            "\n".join(self.lines) + "\n",
            body.value(self.env),
            {values[title]: sizes for title, sizes in inputs.items()},
            tuple([one.value(self.env) for one in outputs]),
            tokens,
        )

    def ends(self, stages: list[Piece], head: list[Piece], classes: Piece) -> tuple[Piece, list[Piece]]:
        """The body of the net and the widths of its outputs: now and then a second one, from the same features."""
        if not stages or not self.chance(4):
            return self.annotated(self.flow(*stages, *head)), [classes]
        width = self.int(self.globals)
        other = [*head[:-1], self.op(f"linear({width.text})", "linear", out=width, bias=True)]
        trunk = self.flow(*stages)
        items = [self.flow(name("trunk"), *head), self.flow(name("trunk"), *other)]

        def value(env: Env) -> Where:
            bound = Value(trunk.value(env))
            inner = {**env, "trunk": Use(bound)}
            return Where((bound,), Outputs(tuple([item.value(inner) for item in items])))

        text = f"({', '.join(item.text for item in items)}) where trunk = {trunk.text}"
        return Piece(text, value, True), [classes, width]

    def stage(self, size: list[int], budget: int) -> tuple[Piece | None, list[int]]:
        """A part of the net, and the spatial sizes behind it. None where all that was drawn is too large."""
        names = self.globals
        room = bool(size) and min(size) >= 4
        pool = self.op(f"maxpool{self.rank}d(2)", "maxpool", kernel=2, stride=2, padding=0)
        kinds = [f"adaptive{kind}pool" for kind in ("avg", "max")]
        adaptive = [self.op(f"{kind}{self.rank}d(2)", kind, size=2) for kind in kinds]
        match self.pick(["rule", "rule", "rule", "block", "zip", "down", "adaptive"]):
            case "block":
                tries = [self.block(self.int(names), names)]
            case "adaptive" if room:
                return self.pick(adaptive), [2] * self.rank
            case "down" if room:
                out = self.int(names)
                args = {"kernel": [3] * self.rank, "padding": [1] * self.rank, "dilation": 1, "stride": 2, "bias": True}
                text = f"conv{self.rank}d({out.text}, 3, stride=2, padding=1)"
                return self.op(text, "conv", out=out, depthwise=False, **args), [(s - 1) // 2 + 1 for s in size]
            case "zip":
                rule = self.pick(self.rules)
                tries = []
                for level in (rule.lowest + 1, rule.lowest):
                    inner = self.mention(rule, names, number(level), name("w"))
                    inner = self.each(inner, self.same(names)) if self.chance() else inner
                    tries.append(
                        Piece(
                            f"seq({inner.text} for w in widths)",
                            lambda env, inner=inner: Seq(tuple([inner.value({**env, "w": w}) for w in env["widths"]])),
                        )
                    )
            case _:
                rule = self.pick(self.rules)
                top = rule.lowest + self.draw(st.integers(0, 3))
                levels = [self.level(level) for level in range(top, rule.lowest - 1, -1)]
                template = self.mention(rule, names, Piece("{level}", lambda env: env["@level"]))
                pooled = self.pick(["", "each", "flow"]) if room else ""
                tries = []
                for level in levels:
                    text = template.text.replace("{level}", level.text)

                    def value(env: Env, level: Piece = level) -> Term:
                        return template.value({**env, "@level": level.value(env)})

                    piece = Piece(text, value, template.loose)
                    if pooled:
                        piece = self.each(piece, pool) if pooled == "each" else self.flow(piece, pool)
                    tries.append(piece)
                if pooled:
                    small = [s // 2 for s in size]
                    return next((t for t in tries if self.fits(t, budget)), None), small
        return next((t for t in tries if self.fits(t, budget)), None), size

    def level(self, level: int) -> Piece:
        """A level as a number or an expression."""
        names = [(n, v) for n, v in self.env.items() if isinstance(v, int)]
        options = [number(level), Piece(f"{level + 1} - 1", lambda env: level, True)]
        for n, v in names:
            options.append(Piece(f"{n} + {level - v}" if level >= v else f"{n} - {v - level}", lambda env: level, True))
        return self.pick(options)


@st.composite
def programs(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Program:
    """Well-typed programs of some 60 layers at the most."""
    drawer = Drawer(draw)
    drawer.env["@globals"] = drawer.env
    Rule.made = 0
    return drawer.program()
