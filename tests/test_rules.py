"""Rules in general: what they expand to, compared with a recursion in the test; and cycles that never end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from fractal_dsl.graph.graph import Layer
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.language.source import Source
from fractal_dsl.pipeline import check, compile_text
from fractal_dsl.runtime import FractalModule, build

Body = list[list[Any]]
"""Columns of steps: ``L`` a base layer, ``id``, or the pair of a rule and a level."""
Rules = dict[str, Callable[[Any], Body]]

L = "L"


@dataclass
class Recursion:
    """The recurrence by itself, over whatever ``layer`` and ``join`` work on."""

    rules: Rules
    layer: Callable[[Any], Any]
    join: Callable[[list[Any]], Any]
    joins: Counter[int] = field(default_factory=Counter[int])

    def net(self, steps: Sequence[Any], x: Any) -> Any:
        return self.close(self.column(list(steps), "", x))

    def open(self, rule: str, level: Any, x: Any) -> list[Any]:
        return [c for column in self.rules[rule](level) for c in self.column(column, rule, x)]

    def column(self, steps: list[Any], rule: str, x: Any) -> list[Any]:
        columns = [x]
        for step in steps:
            x = self.close(columns)
            if isinstance(step, tuple):
                columns = self.open(*step, x)
                columns = columns if step[0] == rule else [self.close(columns)]
            else:
                columns = [self.layer(x) if step == L else x]
        return columns

    def close(self, columns: list[Any]) -> Any:
        if len(columns) == 1:
            return columns[0]
        self.joins[len(columns)] += 1
        return self.join(columns)


LAYER = "layer conv = linear(4) >> tanh\n"


def spec(rules: str, body: str) -> str:
    return f"{LAYER}{rules}\nnet N(x: f32[4]) -> f32[4] = {body}\n"


def layers(model: FractalModule) -> Iterator[torch.nn.Module]:
    """The linear layers, in the order of the text."""
    for _, node in model.join_graph.items():
        if isinstance(node, Layer) and node.spec.weighted:
            yield model.get_submodule(node.name)


JOINS: dict[str, Callable[[list[torch.Tensor]], torch.Tensor]] = {
    "mean": lambda ts: torch.stack(ts).mean(0),
    "sum": lambda ts: torch.stack(ts).sum(0),
    "max": lambda ts: torch.stack(ts).amax(0),
}

CASES: dict[str, tuple[str, str, Rules, list[Any]]] = {
    "fibonacci": (
        "rule F join mean { F[1] = conv  F[2] = conv >> conv  F[n+2] = F[n+1] >> F[n] | conv }",
        "F[6]",
        {"F": lambda l: [[L] * l] if l < 3 else [[("F", l - 1), ("F", l - 2)], [L]]},
        [("F", 6)],
    ),
    "threefold composition": (
        "rule F join mean { F[1] = conv  F[n+1] = F[n] >> F[n] >> F[n] | conv }",
        "F[4]",
        {"F": lambda l: [[L]] if l == 1 else [[("F", l - 1)] * 3, [L]]},
        [("F", 4)],
    ),
    "asymmetric": (
        "rule F join mean { F[1] = conv  F[n+1] = F[n] >> conv | conv >> id | F[n] }",
        "F[4]",
        {"F": lambda l: [[L]] if l == 1 else [[("F", l - 1), L], [L, "id"], [("F", l - 1)]]},
        [("F", 4)],
    ),
    "a column on the left": (
        "rule F join max { F[0] = conv  F[n+1] = conv | F[n] >> F[n] }",
        "F[3] >> F[2]",
        {"F": lambda l: [[L]] if l == 0 else [[L], [("F", l - 1), ("F", l - 1)]]},
        [("F", 3), ("F", 2)],
    ),
    "mutual": (
        """rule F join mean { F[1] = conv  F[n+1] = G[n] | conv }
           rule G join mean { G[n+1] = F[n+1] >> F[n]  G[1] = conv >> F[1] }""",
        "F[4] >> G[5]",
        {
            "F": lambda l: [[L]] if l == 1 else [[("G", l - 1)], [L]],
            "G": lambda l: [[L, ("F", 1)]] if l == 1 else [[("F", l), ("F", l - 1)]],
        },
        [("F", 4), ("G", 5)],
    ),
    "mutual through two more levels up than down": (
        """rule F join sum { F[1] = conv  F[2] = conv  F[3] = conv  F[n+4] = G[n+6] | conv }
           rule G join sum { G[n+3] = F[n] | conv }""",
        "F[8]",
        {
            "F": lambda l: [[L]] if l < 4 else [[("G", l + 2)], [L]],
            "G": lambda l: [[("F", l - 3)], [L]],
        },
        [("F", 8)],
    ),
    "guards": (
        """rule F join mean {
               F[1] = conv
               F[n+1] when n % 2 == 1 and n < 4 = F[n] | conv
               F[n] when n >= 5 = F[n-2] >> F[n-1] | id
               F[n+1] = F[n] >> F[n]
           }""",
        "F[6]",
        {
            "F": lambda l: (
                [[L]]
                if l == 1
                else [[("F", l - 1)], [L]]
                if l in (2, 4)
                else [[("F", l - 2), ("F", l - 1)], ["id"]]
                if l >= 5
                else [[("F", l - 1)] * 2]
            )
        },
        [("F", 6)],
    ),
    "several base cases in any order": (
        "rule F join mean { F[n+3] = F[n+2] | F[n]  F[2] = conv | conv  F[1] = conv >> conv  F[0] = conv }",
        "F[6]",
        {
            "F": lambda l: ([[L]], [[L, L]], [[L], [L]])[l] if l < 3 else [[("F", l - 1)], [("F", l - 3)]],
        },
        [("F", 6)],
    ),
    "a guarded fixed level": (
        """param deep: bool = false
           rule F join mean { F[2] when deep = conv >> conv  F[1] = conv  F[n+1] = F[n] | conv }""",
        "F[3]",
        {"F": lambda l: [[L]] if l == 1 else [[("F", l - 1)], [L]]},
        [("F", 3)],
    ),
    "a block as a parameter": (
        "rule F(b: block) join mean { F[1] = b  F[n+1] = F[n] >> F[n] | b }",
        "F[3](conv) >> F[2](seq(conv, conv))",
        {
            "F": lambda l: [[L]] if l == 1 else [[("F", l - 1)] * 2, [L]],
            "H": lambda l: [[L, L]] if l == 1 else [[("H", l - 1)] * 2, [L, L]],
        },
        [("F", 3), ("H", 2)],
    ),
    "a block that changes on the way down": (
        "rule F(b: block) join mean { F[1] = b  F[n+1] = F[n](seq(b, conv)) | b }",
        "F[3](conv)",
        {
            "F": lambda l: [[L] * l[1]] if l[0] == 1 else [[("F", (l[0] - 1, l[1] + 1))], [L] * l[1]],
        },
        [("F", (3, 1))],
    ),
    "a rule as the block of another": (
        """rule F(b: block) join sum { F[1] = b  F[n+1] = F[n] | b >> b }
           rule G join sum { G[1] = conv  G[n+1] = G[n] >> G[n] | conv }""",
        "F[2](G[2]) >> F[2](F[2](conv))",
        {
            "F": lambda l: [[("G", 2)]] if l == 1 else [[("F", 1)], [("G", 2), ("G", 2)]],
            "G": lambda l: [[L]] if l == 1 else [[("G", 1)] * 2, [L]],
            "H": lambda l: [[("K", 2)]] if l == 1 else [[("H", 1)], [("K", 2), ("K", 2)]],
            "K": lambda l: [[L]] if l == 1 else [[("K", 1)], [L, L]],
        },
        [("F", 2), ("H", 2)],
    ),
    "a join as a parameter": (
        "rule F(j: join) join j { F[1] = conv  F[n+1] = F[n] >> F[n] | conv }",
        "F[3](max)",
        {"F": lambda l: [[L]] if l == 1 else [[("F", l - 1)] * 2, [L]]},
        [("F", 3)],
    ),
    "levels by expressions": (
        """param columns: int = 2
           let widths = [4, 4, 4]
           rule F join mean { F[0] = conv  F[n+1] = F[n // 2] >> F[(n + 1) // 3] | conv }""",
        "F[columns + 2] >> F[len(widths)] >> seq(F[k * 3] for k in range(3))",
        {"F": lambda l: [[L]] if l == 0 else [[("F", (l - 1) // 2), ("F", l // 3)], [L]]},
        [("F", 4), ("F", 3), ("F", 0), ("F", 3), ("F", 6)],
    ),
    "all levels below": (
        "rule F join mean { F[1] = conv  F[n+1] = seq(F[n - k] for k in range(n)) | conv }",
        "F[4]",
        {"F": lambda l: [[L]] if l == 1 else [[("F", k) for k in range(l - 1, 0, -1)], [L]]},
        [("F", 4)],
    ),
    "through a layer": (
        """layer two(k: int, b: block = conv) = F[k] >> b >> F[k - 1]
           rule F join mean { F[0] = conv  F[1] = conv  F[n+2] = two(n + 1) | conv }""",
        "F[4]",
        {
            "F": lambda l: [[L]] if l < 2 else [[("two", l - 1)], [L]],
            "two": lambda k: [[("F", k), L, ("F", k - 1)]],
        },
        [("F", 4)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_expansion_is_the_recurrence(name: str) -> None:
    rules, body, meaning, steps = CASES[name]
    c = compile_text(spec(rules, body))
    joined = next(j for j in JOINS if f"join {j}" in rules or f"({j})" in body)

    counted = Counter[str]()

    def count(x: int) -> int:
        counted[L] += 1
        return x + 1

    depths = Recursion(meaning, count, max)
    depth = depths.net(steps, 0)
    paths = Recursion(meaning, lambda x: x, sum).net(steps, 1)
    s = c.summary
    assert s.joins == dict(depths.joins)
    assert s.joins_raw == sum((arity - 1) * n for arity, n in depths.joins.items())
    assert s.paths == paths
    if name != "through a layer":  # a layer that a rule places is one base layer, whatever is in it
        assert (s.base_layers, s.depth) == (counted[L], depth)
    assert (s.weighted_layers, s.weighted_depth) == (counted[L], depth)

    model = build(c, 1).double().eval()
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    linear = layers(model)
    with torch.no_grad():
        expected = Recursion(meaning, lambda t: torch.tanh(next(linear)(t)), JOINS[joined]).net(steps, x)
        torch.testing.assert_close(model(x), expected, rtol=1e-9, atol=1e-12)
    assert next(linear, None) is None


@pytest.mark.parametrize("name", [*CASES, "uneven"])
def test_columns_are_different_ways_from_shallow_to_deep(name: str) -> None:
    uneven = """rule F join mean { F[1] = conv  F[n+1] = F[n] >> F[n] | conv }
                rule G join mean { G[1] = conv  G[n+1] = G[n] | G[n] >> F[n] | conv }"""
    rules, body = CASES[name][:2] if name in CASES else (uneven, "G[3] >> F[3]")
    c = compile_text(spec(rules, body))
    ways = [c.column(k + 1) for k in range(len(c.graph.columns))]
    assert len({frozenset(way.g.nodes) for way in ways}) == len(ways)
    depths = [column.depth for column in c.summary.columns]
    assert depths == sorted(depths)
    counted = [sum(isinstance(node, Layer) and node.spec.weighted for _, node in way.items()) for way in ways]
    assert [column.params for column in c.summary.columns] == [20 * n for n in counted]
    if name != "through a layer":
        assert depths == counted


def test_columns_of_a_rule_unlike_the_papers() -> None:
    rule = CASES["fibonacci"][0].replace("F[2] = conv >> conv", "F[2] = conv >> conv | conv")
    assert [c.depth for c in compile_text(spec(rule, "F[5]")).summary.columns] == [1, 2, 4, 5, 8]
    rules = """rule F join mean { F[1] = conv  F[n+1] = F[n] >> F[n] | conv }
               rule G join mean { G[1] = conv  G[n+1] = G[n] | G[n] >> F[n] | conv }"""
    assert [c.depth for c in compile_text(spec(rules, "G[3]")).summary.columns] == [1, 1, 1, 2, 3]


def test_a_join_with_other_arguments_closes_columns_of_its_own() -> None:
    rules = """join both(out: int) = mean >> linear(out)
               rule F(j: join) join j { F[1] = conv  F[n+1] = F[n](sum) | conv }
               rule G(w: int = 4) join both(w) { G[1] = conv  G[n+1] = G[n](4) | conv }
               rule H(b: block) join mean { H[1] = b  H[n+1] = H[n](b >> b) | b }"""
    found = [compile_text(spec(rules, body)).summary.joins for body in ("F[3](max)", "F[3](sum)", "G[3]", "H[3](conv)")]
    assert found == [{2: 2}, {3: 1}, {3: 1}, {3: 1}]
    model = build(compile_text(spec(rules, "F[3](max)")), 1).eval()
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        a, b, c = (torch.tanh(linear(x)) for linear in layers(model))
        torch.testing.assert_close(model(x), torch.maximum(a + b, c))


def test_fibonacci_by_hand() -> None:
    """Base layers 1, 2, then the sum of both below and one; depth 1, 2, 3, 5, 8; paths p(n-1) p(n-2) + 1."""
    rule = CASES["fibonacci"][0]
    found = [compile_text(spec(rule, f"F[{k}]")).summary for k in range(1, 6)]
    assert [s.base_layers for s in found] == [1, 2, 4, 7, 12]
    assert [s.depth for s in found] == [1, 2, 3, 5, 8]
    assert [s.paths for s in found] == [1, 1, 2, 3, 7]


def test_the_cases_below_a_level_that_none_takes() -> None:
    errors = found(spec("rule F join mean { F[2] = conv  F[n+3] when n  > 1 = F[n+2] | conv }", "F[5] >> F[3] >> F[2]"))
    assert [(code, text) for code, text, _ in errors] == [
        ("E0403", "no case of `F` matches level 4"),
        ("E0403", "no case of `F` matches level 3"),
    ]
    assert [help for _, _, help in errors] == ["its cases are F[2], F[n+3] when n > 1"] * 2


def test_lists_that_are_parameters_are_joined() -> None:
    text = """
    layer l(k: [int], more: [int] = k + [4]) = seq(linear(w) for w in k + [8] + more)
    rule A(k: [int]) { A[0] = l(k)  A[n+1] = A[n](k + [8]) >> A[n]([2] + k + k) }
    net N(x: f32[8]) -> f32[4] = A[1]([1, 2])
    """
    widths = [(1, 2, 8, 8, 1, 2, 8, 4), (2, 1, 2, 1, 2, 8, 2, 1, 2, 1, 2, 4)]
    layers = [node for _, node in compile_text(text).raw.items() if isinstance(node, Layer)]
    assert tuple(node.out.shape[0] for node in layers) == widths[0] + widths[1]


def test_a_mention_by_itself_as_an_argument_has_the_arguments_around() -> None:
    for inner in ("K[n](K[n])", "K[n](b=K[n])"):
        bare, full = (
            compile_text(spec(f"rule K(b: block) {{ K[1] = b  K[n+1] = {mention} >> b }}", "K[3](conv)"))
            for mention in (inner, "K[n](K[n](b))")
        )
        assert bare.raw.dump() == full.raw.dump()
        assert bare.summary.base_layers == 5


@pytest.mark.parametrize(
    ("rule", "guard"),
    [
        ("rule K(s: [int]) join mean { K[0] = conv  K[n] = K[n - len(s)] | conv }", "K[n] when len(s) > 0"),
        ("rule K(s: int) join mean { K[0] = conv  K[n+1] = K[s] | conv }", "K[n+1] when s < n + 1"),
        ("rule K(s: int) join mean { K[0] = conv  K[n+1] = K[s % (n + 2)] | conv }", "K[n+1] when s % (n + 2) < n + 1"),
        ("rule K(s: int) join mean { K[0] = conv  K[2] = K[s] | conv }", "K[2] when s < 2"),
        (
            "rule K(s: int) join mean { K[0] = conv  K[n] when n > 1 or n < 9 = K[n - s] | conv }",
            "K[n] when (n > 1 or n < 9) and s > 0",
        ),
    ],
)
def test_a_level_that_arguments_decide_takes_the_guard_that_the_help_names(rule: str, guard: str) -> None:
    (error,) = found(spec(rule, "conv"))
    assert error[::2] == ("E0404", f"add a guard that makes the level decrease: `{guard} = …`")
    head = guard.partition(" when")[0]
    start = rule.index(head)
    assert found(spec(f"{rule[:start]}{guard} {rule[rule.index('= K[', start) :]}", "conv")) == []


# --- termination


def found(text: str) -> list[tuple[str, str, str | None]]:
    try:
        check(Source("spec.frac", text))
    except FracError as error:
        return [(d.code, d.message, d.help) for d in error.diagnostics]
    return []


def cycles(rules: str, body: str = "conv") -> list[str]:
    """The cycles that are reported, each from behind the colon of its message; the codes of other errors."""
    kinds = {"may not decrease": "may ", "without end": "rises "}
    return [
        next((word for text, word in kinds.items() if text in m), "") + m.split(": ")[-1] if code == "E0404" else code
        for code, m, _ in found(spec(rules, body))
    ]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("rule F { F[1] = conv  F[n+1] = F[n+1] >> conv }", ["F[n+1] -> F[n+1]"]),
        ("rule F { F[1] = conv  F[n] = F[n+2] >> conv }", ["F[n] -> F[n+2]"]),
        ("rule F { F[1] = conv  F[n+1] = F[n+1] >> F[n] >> F[n+1] }", ["F[n+1] -> F[n+1]"] * 2),
        (
            "rule F join mean { F[1] = conv  F[n+1] = G[n+1] | conv } rule G join mean { G[n+1] = F[n+1] >> F[n] }",
            ["F[n+1] -> G[n+1] -> F[n+1]"],
        ),
        (
            "rule F { F[n+1] = G[n]  F[0] = conv } rule G { G[n] = H[n+2] } rule H { H[k+1] = F[k] }",
            ["G[n] -> H[n+2] -> F[n+1] -> G[n]"],
        ),
        (
            "rule F { F[1] = conv  F[n+1] = G[n] } rule G { G[m+1] = F[m+2] >> F[m] }",
            ["G[m+1] -> F[m+2] -> G[m+1]"],
        ),
        ("rule F { F[1] = conv  F[n+1] = F[3] >> conv }", ["F[3] -> F[3]"]),
        ("rule F { F[1] = G[3]  F[n+1] = F[n] } rule G { G[n+1] = F[n] }", ["F[1] -> G[3] -> F[2] -> F[1]"]),
        ("rule F { F[1] = F[1] }", ["F[1] -> F[1]"]),
        ("let up = 2 - 1  rule F { F[1] = conv  F[n+1] = F[n + up] }", ["F[n+1] -> F[n+1]"]),
        ("rule F { F[1] = conv  F[n+1] = G[n] }  let H = F  rule G { G[n] = H[1 + n] }", ["G[n] -> F[n+1] -> G[n]"]),
        (
            "layer two(k: int) = G[k+1] >> G[k]  rule F { F[1] = conv  F[n+1] = two(n) }  rule G { G[n] = F[n] }",
            ["F[n+1] -> two -> G[n+1] -> F[n+1]"],
        ),
        ("rule F { F[1] = conv  F[n+1] = mean(conv, F[n].each(conv), seq(F[n+1])) }", ["F[n+1] -> F[n+1]"]),
        ("rule F(b: block) { F[1] = b  F[n+1] = F[n](F[n+1](b)) }", ["F[n+1] -> F[n+1]"]),
        ("rule F(b: block = F[1]) { F[1] = b }", ["E0407"]),
        ("rule Q { Q[n] = conv >> seq(Q[i] for i in range(n + 1)) }", ["Q[0] -> Q[0]"]),
        ("rule Q { Q[n] = conv >> seq(Q[n] for i in [1]) }", ["E0403", "Q[n] -> Q[n]"]),
        ("join j = mean >> F[2]  rule F join j { F[1] = conv  F[n+1] = F[n] | conv }", ["F[2] -> j -> F[2]"]),
        ("rule F { F[1] = conv  F[n+1] = l | conv } layer l = F[2]", ["E0402", "F[2] -> l -> F[2]"]),
        ("rule B { B[n] = B[n * 2] }", ["E0403", "B[0] -> B[0]"]),
        ("rule B { B[0] = conv  B[n+1] = B[2 * n + 4] }", ["rises B[190] -> B[382]"]),
        ("rule C { C[n] = C[n // 1] }", ["E0403", "C[0] -> C[0]"]),
        ("rule D { D[n] = D[n - 0 * n] }", ["E0403", "D[0] -> D[0]"]),
        ("rule E { E[n] = E[5 - n] }", ["E0403", "E[0] -> E[5] -> E[0]"]),
        ("rule G(k: int) { G[0] = conv  G[n+1] = G[k] }", ["may G[n+1] -> G[k]"]),
        ("rule G(k: int) { G[0] = conv  G[n+1] = G[k % (n + 2)] }", ["may G[1] -> G[1]"]),
        (
            "layer l(k: int) = F[k + 1](k)  rule F(k: int) { F[0] = conv  F[n+1] = l(k) }",
            ["may F[n+1] -> l -> F[k + 1]"],
        ),
        ("rule K { K[0] = conv  K[n+1] = seq(K[i] for i in range(n + 2)) }", ["K[1] -> K[1]"]),
        ("rule H { H[0] = conv  H[n+1] = I[n * 2] } rule I { I[n] = H[n] }", ["H[2] -> I[2] -> H[2]"]),
        ("let at = [0, 0, 1, 3] rule F { F[0] = conv  F[n+1] = F[at[n + 1]] }", ["F[3] -> F[3]"]),
    ],
)
def test_cycles_that_do_not_fall_are_shown_also_where_no_net_uses_them(rules: str, expected: list[str]) -> None:
    assert cycles(rules) == expected


@pytest.mark.parametrize(
    "rules",
    [
        "rule F join mean { F[1] = conv  F[n+1] = G[n] | conv } rule G { G[1] = conv  G[n+1] = F[n+1] >> F[n] }",
        "rule F { F[1] = conv  F[n+3] = G[n+5] } rule G { G[n+3] = F[n] }",
        "rule F { F[1] = conv  F[2] = conv  F[n+1] = F[2] >> F[1] }",
        "rule F { F[1] = conv  F[n+1] when n > 5 = F[3]  F[n+1] = F[n] }",
        "rule F { F[1] = conv  F[n+1] = seq(F[n] for n in range(1, 2)) }",
        "rule F(n: int) { F[1] = conv  F[m+1] = F[m](n=n+1) }",
        "rule F(b: block = F[1](conv)) { F[1] = b  F[n+1] = F[n] >> b }",
        "rule F { F[0] = conv  F[2] = F[3]  F[3] = conv  F[n+1] = F[0] }",
        "rule F { F[0] = conv  F[2] = G[3]  F[n+1] = F[n] } rule G { G[n] = F[1] }",
        "let at = [0, 0, 1, 2] rule F { F[0] = conv  F[n+1] = F[at[n + 1]] }",
        "rule F(n: int) { F[0] = conv  F[k+1] = F[n % (k + 1)] >> F[(k + n % 2) // 2] }",
        "rule F(n: int) { F[k] when n < k = F[n](0)  F[0] = conv  F[k+1] = F[k] }",
        "rule F { F[0] = conv  F[n+1] = seq(F[i] for i, w in zip(range(n), range(n))) >> seq(F[n - k] for k in [0]) }",
        "rule F { F[n] = conv >> seq(F[i] for i in range(n)) }",
        "let at = [[0], [0, 0], [1]] rule F { F[0] = conv  F[n] = sum(id, [F[i] for i in at[n]]) >> conv }",
        "rule F { F[0] = conv  F[n+1] = l(n, F[n]) } layer l(k: int, b: block) = F[(k + 1) // 2] >> b",
    ],
)
def test_cycles_that_fall_are_right(rules: str) -> None:
    level = 1 if "n+3" in rules else 2
    assert cycles(rules, f"F[{level}](1)" if "n: int" in rules else f"F[{level}]") == []


def test_a_cycle_is_told_once_also_where_a_net_uses_it() -> None:
    rules = "rule F join mean { F[1] = conv  F[n+1] = G[n+1] | conv } rule G join mean { G[n+1] = F[n+1] >> F[n] }"
    assert cycles(rules, "F[3] >> G[2]") == ["F[n+1] -> G[n+1] -> F[n+1]"]


def test_a_cycle_that_arguments_decide_is_told_at_expansion_by_the_layers_on_its_way() -> None:
    rules = "layer l(k: int) = F[k](k) rule F(k: int) { F[1] = conv  F[n+1] when n > k = F[n](k)  F[n+1] = l(k + 1) }"
    assert cycles(rules) == []
    assert cycles(rules, "F[2](0)") == []
    assert cycles(rules, "F[2](1)") == ["F[2] -> l -> F[2]"]


def test_checking_many_rules_is_fast() -> None:
    ring = "\n".join(
        f"rule F{i} {{ F{i}[1] = conv  F{i}[n+1] = F{(i + 1) % 400}[n+1] >> F{i}[n] }}" for i in range(400)
    )
    assert len(cycles(ring)) == 1
    layers = "\n".join(f"layer l{i + 1}(k: int) = l{i}(k) >> l{i}(k + 1)" for i in range(40))
    assert cycles(f"layer l0(k: int) = F[k]\n{layers}\nrule F {{ F[1] = conv  F[n+50] = l40(n) }}") == []
