"""The passes, as golden text, and the verifier between them.

``tests/golden/passes.test`` holds the cases of each pass: a spec, the graph before and the graph after. A case is a
title, ``== PASS: title``, the spec, ``-- before``, a dump, ``-- after``, a dump. Dumps of labelled graphs also say the
columns of each node and the operand that each column takes at a join. ``select_column`` takes the column that the title
names, as in ``column 2``.

``UPDATE_GOLDEN=1 pytest tests/test_passes.py`` writes the file anew. Read the difference before you commit it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from fractal_dsl.graph import passes as graph_passes
from fractal_dsl.graph.graph import Join, JoinGraph, Layer
from fractal_dsl.graph.lone_column import lone_column
from fractal_dsl.graph.passes import run_pass
from fractal_dsl.graph.passes.assign_columns import assign_columns
from fractal_dsl.graph.passes.collapse_joins import collapse_joins
from fractal_dsl.graph.passes.fold_batchnorm import fold_batchnorm, foldable
from fractal_dsl.graph.passes.lone_whole import lone_whole
from fractal_dsl.graph.passes.prune_dead import prune_dead
from fractal_dsl.graph.passes.raw_ends import normalise_inputs, restore_outputs
from fractal_dsl.graph.passes.select_column import select_column
from fractal_dsl.graph.program_to_graph import program_to_graph
from fractal_dsl.graph.verify import BrokenGraph, verify
from fractal_dsl.pipeline import compile_text

GOLDEN = Path(__file__).parent / "golden" / "passes.test"


def cases() -> list[tuple[str, str, str, str, str]]:
    """Pass, title, spec, before and after."""
    result: list[tuple[str, str, str, str, str]] = []
    for part in ("\n" + GOLDEN.read_text("utf-8")).split("\n== ")[1:]:
        head, _, rest = part.partition("\n")
        name, _, title = head.partition(": ")
        text, _, graphs = rest.partition("\n-- before")
        before, _, after = graphs.partition("\n-- after")
        result.append((name, title, text, before.strip("\n"), after.strip("\n")))
    return result


CASES = cases()


def passed(name: str, title: str, text: str) -> tuple[JoinGraph, JoinGraph]:
    """The graph that a pass gets, and the one that it gives."""
    c = compile_text(text)
    column = int(found[1]) if (found := re.search(r"column (\d+)", title)) else 1
    match name:
        case "collapse_joins":
            return c.raw, run_pass(collapse_joins, c.raw)
        case "assign_columns":
            return c.collapsed, run_pass(assign_columns, c.collapsed, c.summary.labels)
        case "select_column":
            return c.graph, run_pass(select_column, c.graph, column)
        case "prune_dead":
            before = run_pass(select_column, c.graph, column)
            return before, run_pass(prune_dead, before)
        case "lone_whole":
            return c.graph, run_pass(lone_whole, c.graph)
        case "normalise_inputs":
            channels = {node.name: node.out.shape[0] for _, node in c.graph.inputs if node.out.dtype == "f32"}
            return c.graph, run_pass(normalise_inputs, c.graph, channels)
        case "restore_outputs":
            end = c.graph.output[1]
            channels = {name: out.shape[0] for name, out in zip(end.names, end.outs, strict=True)}
            return c.graph, run_pass(restore_outputs, c.graph, channels)
        case "fold_batchnorm":
            before = lone_column(c.graph, column)
            return before, run_pass(fold_batchnorm, before, foldable(before))
        case _:
            raise AssertionError(f"no pass is called {name}")


def shown(graph: JoinGraph) -> str:
    """A dump, with columns and choices once they are assigned."""
    head, *lines = graph.dump().splitlines()
    if graph.stage == "labelled":
        for i, (_, node) in enumerate(graph.items()):
            if isinstance(node, Layer | Join):
                columns = [str(k + 1) for k in range(graph.n_columns) if node.columns >> k & 1]
                lines[i] += f", columns {' '.join(columns)}"
            if isinstance(node, Join) and node.of_columns:
                lines[i] += f", choice {' '.join(map(str, node.choice))}"
    return "\n".join([head, *lines])


def test_golden_file_is_up_to_date() -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        parts = [(name, title, text, *map(shown, passed(name, title, text))) for name, title, text, _, _ in CASES]
        GOLDEN.write_text(
            "".join(f"== {n}: {t}\n{s}\n-- before\n{b}\n-- after\n{a}\n" for n, t, s, b, a in parts), "utf-8"
        )


@pytest.mark.parametrize(("name", "title", "text", "before", "after"), CASES, ids=[f"{n}: {t}" for n, t, *_ in CASES])
def test_passes_are_as_written(name: str, title: str, text: str, before: str, after: str) -> None:
    given, made = passed(name, title, text)
    assert (shown(given), shown(made)) == (before, after)


# --- the verifier

SPEC = """
shared end = linear(4)
rule F join mean { F[1] = linear(4)  F[n+1] = F[n] >> F[n] | linear(4) }
net N(x: f32[4]) -> f32[4] with drop_path(local=10%)
    = F[3] >> end >> sum(id, relu @drop(50%)) >> end
"""


def changed(graph: JoinGraph, pick: Callable[[object], bool], **fields: object) -> JoinGraph:
    """A copy in which the last node that ``pick`` picks has other fields."""
    result = graph.without_nodes(graph.stage)
    chosen = [number for number, node in graph.items() if pick(node)][-1]
    result.extend(
        [(i, replace(node, **fields) if i == chosen else node, graph.operands(i)) for i, node in graph.items()]
    )
    return result


def is_layer(node: object) -> bool:
    return isinstance(node, Layer)


def is_join(node: object) -> bool:
    return isinstance(node, Join) and node.of_columns


def is_inline(node: object) -> bool:
    return isinstance(node, Join) and not node.of_columns


def rewired(graph: JoinGraph, number: int, operands: list[int]) -> JoinGraph:
    """A copy in which a node reads other operands."""
    result = graph.without_nodes(graph.stage)
    result.extend([(i, node, operands if i == number else graph.operands(i)) for i, node in graph.items()])
    return result


def swapped(graph: JoinGraph) -> JoinGraph:
    result = graph.without_nodes(graph.stage)
    found = [(i, node, graph.operands(i)) for i, node in graph.items()]
    result.extend([*found[:-2], found[-1], found[-2]])
    return result


def first_join(graph: JoinGraph) -> int:
    return graph.joins()[0][0]


def without_output(graph: JoinGraph) -> JoinGraph:
    result = graph.without_nodes(graph.stage)
    result.extend([(i, node, graph.operands(i)) for i, node in list(graph.items())[:-1]])
    return result


def in_other_slots(graph: JoinGraph) -> JoinGraph:
    copy = rewired(graph, first_join(graph), graph.operands(first_join(graph)))
    for edge in copy.reads[first_join(graph)].values():
        edge["slot"] = 1 - edge["slot"]
    return copy


def with_columns(graph: JoinGraph) -> JoinGraph:
    column = lone_column(graph, 1)
    column.columns = graph.columns
    return column


WIDE = compile_text("net N(x: f32[8]) -> f32[8] = linear(8)").raw.output[1].out
BREAKERS: dict[str, tuple[Callable[[JoinGraph], JoinGraph], str]] = {
    "no output": (without_output, "a graph has inputs and one output node, not 1 and 0"),
    "a reader before its operand": (swapped, "nodes must be in the order of their numbers"),
    "an operand of later": (lambda g: rewired(g, 1, [g.output[0] - 1]), "operands must come before their readers"),
    "slots": (in_other_slots, "operand 0 is in slot 1"),
    "a dead node": (lambda g: rewired(g, g.output[0], [0]), "nothing reads it"),
    "a join of one": (
        lambda g: rewired(g, first_join(g), g.operands(first_join(g))[:1]),
        "nothing reads it|1 operands",
    ),
    "a shape that comes in": (lambda g: changed(g, is_layer, into=WIDE), r"it takes f32\[8\], but"),
    "a shape that goes out": (lambda g: changed(g, is_join, out=WIDE), r"by its rule it gives f32\[4\], not f32\[8\]"),
    "an open operand": (lambda g: changed(g, is_join, labels=((3, 0), None, (1, 0))), "open operand|labels"),
    "equal labels": (lambda g: changed(g, is_join, labels=((1, 0),) * 3), "two operands have one label"),
    "a label too few": (lambda g: changed(g, is_join, labels=((1, 0),)), "it has 1 labels for 3 operands"),
    "equal names": (lambda g: changed(g, is_layer, name="block1.column3.linear"), "has the same name"),
    "other weights": (lambda g: changed(g, is_layer, args={"out_features": 4, "bias": False}), "shares weights with"),
    "a choice too few": (lambda g: changed(g, is_join, choice=(0,)), r"3 columns cannot choose \(0,\) of 3"),
    "a choice out of range": (lambda g: changed(g, is_join, choice=(0, 1, 3)), "columns cannot choose"),
    "columns": (lambda g: changed(g, is_layer, columns=1), "its columns are 1, but columns 111 need it"),
    "drops of columns": (lambda g: changed(g, is_join, drops=(0.1, 0.0, 0.0)), "only inline joins have branches"),
    "a drop too few": (lambda g: changed(g, is_inline, drops=(0.1,)), "2 operands cannot be left out with"),
    "a drop that is certain": (lambda g: changed(g, is_inline, drops=(0.0, 1.0)), "cannot be left out with"),
    "drops of nothing": (lambda g: changed(g, is_inline, drops=(0.0, 0.0)), "cannot be left out with"),
    "columns of a column": (with_columns, "a column by itself has no columns"),
}


def test_each_pass_has_golden_cases() -> None:
    passes = set(re.findall(r"^(\w+)  +\w+ -> ", graph_passes.__doc__ or "", re.MULTILINE))
    assert passes and passes == set(re.findall(r"^== (\w+):", GOLDEN.read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("what", BREAKERS)
def test_a_broken_pass_is_named_with_what_it_broke(what: str) -> None:
    break_it, message = BREAKERS[what]

    def a_pass(graph: JoinGraph) -> JoinGraph:
        return break_it(graph)

    graph = compile_text(SPEC).graph
    verify(graph)
    with pytest.raises(BrokenGraph, match=f"^a_pass broke the (labelled|column) graph of N: .*({message})"):
        run_pass(a_pass, graph)


def test_every_run_verifies_every_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr("fractal_dsl.graph.passes.verify", lambda graph: seen.append(graph.stage))
    compile_text(SPEC).column(1)
    assert seen == ["raw", "collapsed", "labelled", "selected", "column"]


def test_a_graph_that_breaks_a_rule_is_an_internal_error_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fractal_dsl import cli

    spec = tmp_path / "n.frac"
    spec.write_text(SPEC)
    monkeypatch.setattr("sys.argv", ["fractal-dsl", "compile", str(spec), "--emit", "raw"])
    monkeypatch.setattr("fractal_dsl.graph.program_to_graph.program_to_graph", broken_expansion)
    with pytest.raises(SystemExit):
        cli.main()
    told = capsys.readouterr().err
    assert told.startswith("internal error: BrokenGraph: broken_expansion broke the raw graph of N: ")
    assert "Traceback" not in told


def broken_expansion(program: object) -> JoinGraph:
    return without_output(program_to_graph(program))  # type: ignore[arg-type]
