"""The language reference: its tables are those of the code. Every block of Frac in it and in the guides is compiled.

``UPDATE_GOLDEN=1 pytest tests/test_reference.py`` writes the tables anew. A block's info string says what it is:

    ```frac                 a whole file without errors
    ```frac fragment        declarations, to which the test adds a net
    ```frac wrong E0401     a file, or declarations, with errors of this code only
    ```frac file parts.frac a whole file that other blocks import under this name
    ```frac python          a whole file without errors that loads Python code, from
    ```python file parts.py a Python module beside the blocks
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

import pytest

from fractal_dsl import pipeline
from fractal_dsl.compiled import Compiled
from fractal_dsl.config import TrainConfig
from fractal_dsl.config.errors import variants
from fractal_dsl.language import imports, source, text_to_syntax
from fractal_dsl.language.diagnostics import CODES, MAX_REPORTED, FracError
from fractal_dsl.language.read import read
from fractal_dsl.language.text_to_syntax import KEYWORDS
from fractal_dsl.ops import JOINS, LAYERS, MAX_STACKED, REQUIRED, OpSpec, ShapeError, Tensor
from fractal_dsl.picture.graph_to_dot.units import MAX_UNITS
from fractal_dsl.program.program_to_summary import MAX_COLUMNS, MAX_NUMBERS, MAX_OPS_PER_LAYER
from fractal_dsl.program.syntax_to_program import INITS
from fractal_dsl.program.syntax_to_program.limits import (
    MAX_ELEMENTS,
    MAX_INT,
    MAX_LEVEL,
    MAX_LIST,
    MAX_LIST_DEPTH,
    MAX_STEPS,
    MAX_WORK,
)
from fractal_dsl.program.syntax_to_program.op_arguments import signature
from fractal_dsl.program.syntax_to_program.values import BUILTINS, show

README = Path(__file__).parent.parent / "grammar" / "README.md"
NET = "\nnet Test(x: f32[8]) -> f32[8] = id\n"
GUIDES = [Path(__file__).parent.parent / "docs" / f"{name}.md" for name in ("index", "start", "layers")]
BLOCKS = [
    (m[1].split(), m[2])
    for page in [README, *GUIDES]
    for m in re.finditer(r"^```frac(.*)\n((?:.*\n)*?)```$", page.read_text("utf-8"), re.M)
]
MODULES = re.findall(r"^```python file (\w+\.py)\n((?:.*\n)*?)```$", README.read_text("utf-8"), re.M)
NAMES = [f"{i}: {' '.join(info) or text.splitlines()[0]}" for i, (info, text) in enumerate(BLOCKS)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for info, text in BLOCKS:
        if info[:1] == ["file"]:
            (tmp_path / info[1]).write_text(text, "utf-8")
    for name, text in MODULES:
        (tmp_path / name).write_text(text, "utf-8")
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("info", "text"), BLOCKS, ids=NAMES)
def test_blocks_are_as_they_say(info: list[str], text: str, folder: Path) -> None:
    spec = folder / "block.frac"
    spec.write_text(text + (NET if info == ["fragment"] else ""), "utf-8")
    match info:
        case [] | ["file", _]:
            assert pipeline.check(read(spec)), "a whole file has a net; else it is a fragment"
        case ["fragment"]:
            pipeline.check(read(spec))
        case ["python"]:
            (compiled,) = pipeline.check(read(spec), allow_python=True)
            steps_of(compiled)
        case ["wrong", code]:
            with pytest.raises(FracError) as caught:
                pipeline.check(read(spec))
            assert {d.code for d in caught.value.diagnostics} == {code}
        case _:
            pytest.fail(f"```frac {' '.join(info)} is none of the kinds of block")


def steps_of(compiled: Compiled) -> None:
    """Run a net whole, by column and by a local plan, backward too: every weight has a gradient."""
    import torch

    from fractal_dsl import build

    model = build(compiled, seed=1).train()
    x = torch.randn(4, *compiled.graph.input[1].out.shape)
    model(x).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    for plan in [*(model.column_plan(k) for k in range(1, model.n_columns + 1)), model.plan(0, 1)]:
        assert model.run(x, plan).shape == (4, *compiled.summary.output_shape)


# --- tables

# What the layers' examples are made with: arguments by parameter name, else by kind; the first input that fits.
_ARGS = {
    "dim0": 1,
    "out_channels": 16,
    "out": 16,
    "out_features": 10,
    "num_embeddings": 1000,
    "embedding_dim": 64,
    "output_size": 1,
    "dim": 2,
    "dims": (2, 3, 1),
    "shape": (16, -1),
    "parameter.shape": (16, 64),
    "image_size": (8, 12),
    "shift_size": 2,
    "shifts": (1, 1, 1),
    "window_size": 4,
}
_KINDS = {
    "int": 2,
    "size": 3,
    "sides": 3,
    "numbers": 1,
    "scale": 2,
    "float": 0.5,
    "prob": 0.5,
    "bool": True,
    "str": "text",
}
_INPUTS = [Tensor("f32", s) for s in ((8, 32, 32), (8, 32), (8, 16, 16, 16), (64,), (49, 4))] + [Tensor("i64", (32,))]
_INPUT = {1: _INPUTS[1], 2: _INPUTS[0], 3: _INPUTS[2]}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def example(spec: OpSpec) -> tuple[Tensor, Tensor, str]:
    """An input, its output, and torch's name of a layer."""
    given = {p.name: _ARGS.get(f"{spec.name}.{p.name}", _ARGS.get(p.name, _KINDS.get(p.kind))) for p in spec.params}
    args = {p.name: given[p.name] if p.default is REQUIRED else p.default for p in spec.params}
    args |= {"max": 1.0} if spec.name == "clamp" else {}
    for x in [_INPUT[spec.rank]] if spec.rank else _INPUTS:
        try:
            return x, spec.out(x, args), spec.torch(x, args).target
        except ShapeError:
            continue
    raise AssertionError(f"no example input suits `{spec.name}`: add one to _INPUTS")


def layers() -> str:
    """A row for each group of layers that differ in the number of their axes only; activations are less apart."""

    def group(spec: OpSpec) -> tuple[str, str, str, str]:
        if spec.family == "activation":
            return spec.family, "", signature(spec.params), str(example(spec)[1])
        return spec.family, re.sub(r"[123]d$", "", spec.name), signature(spec.params), ""

    rows: list[list[str]] = []
    for (family, _, params, _), found in groupby(sorted(LAYERS.values(), key=group), key=group):
        specs = list(found)
        x, y, _ = example(specs[min(1, len(specs) - 1)])
        targets = [example(s)[2] for s in specs]
        torch = ", ".join(t for t in targets if t.startswith("nn."))
        rows.append([family, ", ".join(f"`{s.name}`" for s in specs), f"`{params}`" if params else ""])
        rows[-1] += [f"`{x}` → `{y}`", torch]
    return table(("family", "layers", "parameters", "example: input → output", "torch"), rows)


def joins() -> str:
    x = Tensor("f32", (8, 32, 32))
    rows = [
        [f"`{j.name}`", f"`{signature(j.params)}`" if j.params else "", f"{count} of `{x}` → `{y}`"]
        for j in JOINS.values()
        for count, given in [("three", (x, x, x)) if j.name == "attend" else ("two", (x, x))]
        for y in [j.out(given, {p.name: p.default for p in j.params})]
    ]
    return table(("join", "parameters", "example: operands → output"), rows)


def settings() -> str:
    def default(name: str) -> str:
        value = TrainConfig.model_fields[name].default
        return f"`{value.name}`" if hasattr(value, "name") else "" if value in (None, [], {}) else f"`{show(value)}`"

    def shown(value: Any) -> str:
        return show(tuple(value)) if isinstance(value, list) else show(value)

    rows = [[f"`{n}`", default(n), f.description or ""] for n, f in TrainConfig.model_fields.items()]
    for name in TrainConfig.model_fields:
        for model in variants(name):
            keys = {k: f for k, f in model.model_fields.items() if k != "name"}
            inside = ", ".join(
                k if f.is_required() else f"{k}={'…' if f.default is None else shown(f.default)}"
                for k, f in keys.items()
            )
            names = get_args(model.model_fields["name"].annotation)
            texts = [f"`{name} = {v}({inside})`" if keys else f'`{name} = "{v}"`' for v in names]
            rows.append([", ".join(texts), "", " ".join((model.__doc__ or "").split("\n\n")[0].split())])
    return table(("setting", "default", "meaning"), rows)


def limits() -> str:
    rows = [
        ("base layers of a net", f"{pipeline.MAX_LAYERS:,}", "`--max-layers N`"),
        ("all layers of a net", f"{MAX_OPS_PER_LAYER} × that", "`--max-layers N`"),
        ("level of a rule", f"{MAX_LEVEL:,}", ""),
        ("columns of a join", f"{MAX_COLUMNS:,}", ""),
        ("elements of a list", f"{MAX_LIST:,}", ""),
        ("elements of a list, including nested lists", f"{MAX_ELEMENTS:,}", ""),
        ("nesting of lists", f"{MAX_LIST_DEPTH}", ""),
        ("steps of evaluation: expressions evaluated, list elements created or passed on", f"{MAX_STEPS:,}", ""),
        ("steps of the termination check", f"{MAX_WORK:,}", ""),
        ("parameters of a net, numbers in a tensor", f"{MAX_NUMBERS:,}", ""),
        ("stacked layers of `rnn`, `lstm`, `gru`", f"{MAX_STACKED}", ""),
        ("boxes and bars of a picture", f"{MAX_UNITS:,}", ""),
        ("whole numbers", f"±{MAX_INT:,}", ""),
        ("nesting of brackets", str(text_to_syntax.MAX_NESTING), ""),
        ("tokens between `,`, `>>`, `|`, `=`", str(text_to_syntax.MAX_RUN), ""),
        ("tokens of a file", f"{text_to_syntax.MAX_TOKENS:,}", ""),
        ("bytes of a file", f"{source.MAX_SOURCE_BYTES:,}", ""),
        ("imported files", f"{imports.MAX_FILES:,}", ""),
        ("depth of imports", f"{imports.MAX_IMPORT_DEPTH:,}", ""),
        ("reported errors", f"{MAX_REPORTED}", ""),
    ]
    return table(("what", "limit", "set with"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "keywords": lambda: " ".join(f"`{w}`" for w in KEYWORDS) + "\n",
    "functions": lambda: " ".join(f"`{w}`" for w in BUILTINS) + "\n",
    "layers": layers,
    "joins": joins,
    "inits": lambda: " ".join(f'`"{w}"`' for w in INITS) + "\n",
    "settings": settings,
    "limits": limits,
    "codes": lambda: table(("code", "meaning"), ([f"`{c}`", t] for c, t in CODES.items())),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_those_of_the_code(name: str) -> None:
    text, expected = README.read_text("utf-8"), f"\n{TABLES[name]()}\n"
    found = re.findall(rf"<!-- {name}: written by tests/test_reference.py -->\n(.*?)<!-- end -->\n", text, re.S)
    assert len(found) == 1
    assert "<!--" not in found[0]
    if os.environ.get("UPDATE_GOLDEN"):
        start = f"<!-- {name}: written by tests/test_reference.py -->\n"
        README.write_text(text.replace(start + found[0], start + expected), "utf-8")
    else:
        assert found[0] == expected, "UPDATE_GOLDEN=1 pytest tests/test_reference.py"
