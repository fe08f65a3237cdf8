"""Names: whatever a user calls a net, a layer, a rule, a tag or a parameter, the generated module is not broken."""

from __future__ import annotations

import builtins
import keyword
from pathlib import Path

import pytest
import torch
from torch import fx, nn

from fractal_dsl.codegen.graph_to_source import class_name
from fractal_dsl.compiled import Compiled
from fractal_dsl.graph.passes.assign_columns import RESERVED, mangle
from fractal_dsl.language.source import Source
from fractal_dsl.language.text_to_syntax.words import KEYWORDS
from fractal_dsl.pipeline import check, compile_file, compile_text
from fractal_dsl.runtime import FractalModule, build, layers
from fractal_dsl.runtime.artifact import model_source

OWN = "ReLU Linear OrderedDict import_module Net Net_None Layer self x z c1 c2 column1 block1 block2 join1 linear_2"
FOREIGN = "größe x² ｎｎ ｓｕｐｅｒ ﬁ _ __ ___ __x _1 ℌ 漢字 ªb seq_2 main"
HOSTILE = sorted(
    {
        *keyword.kwlist,
        *keyword.softkwlist,
        *dir(builtins),
        *(
            name
            for cls in (nn.Module, nn.Sequential, nn.ModuleDict, fx.GraphModule, FractalModule)
            for name in dir(cls)
        ),
        *dir(layers),
        *dir(torch.Tensor)[:40],
        *dir(nn)[:40],
        *OWN.split(),
        *FOREIGN.split(),
        "torch",
        "Tensor",
    }
    - {*KEYWORDS, "id", "linear", "relu", "gated"}  # which the specs below use
)
"""Keywords, builtins, private names, attributes of modules, what generated code uses, what Python reads otherwise."""


def assert_runs(compiled: Compiled) -> None:
    """The module, its plans and its source give the same."""
    model = build(compiled).eval()
    x = torch.randn(2, *model.input.shape)
    expected = model(x)
    assert torch.equal(expected, model.run(x, model.full_plan()))
    assert_source_gives(compiled, model, x, expected)


def assert_source_gives(compiled: Compiled, model: FractalModule, x: torch.Tensor, expected: torch.Tensor) -> None:
    source = model_source(compiled, compiled.graph)
    namespace: dict[str, object] = {"__name__": "model"}
    exec(compile(source, "model.py", "exec"), namespace)
    last = source.rpartition("\nclass ")[2].partition("(")[0]
    assert f"\n    model = {last}()\n" in source, "the header names another class"
    plain: nn.Module = namespace[last]()  # type: ignore[operator]
    plain.load_state_dict(model.state_dict())
    assert torch.equal(plain.eval()(x), expected)


def test_reserved_names_are_all_attributes_of_a_module() -> None:
    model = build(compile_text("net N(x: f32[3]) -> f32[3] = linear(3)"))
    plain = {name for name in {*dir(model), *vars(model)} if not name.startswith("_")} - {"linear"}
    containers = {name for cls in (nn.ModuleDict, nn.Sequential) for name in dir(cls) if not name.startswith("_")}
    assert plain | containers <= RESERVED


BATCHES = [HOSTILE[start : start + 60] for start in range(0, len(HOSTILE), 60)]


@pytest.mark.parametrize("names", BATCHES, ids=lambda names: f"{names[0]}…")
def test_any_name_is_a_layer(names: list[str]) -> None:
    declared = "\n".join(f"layer {n} = linear(2) >> relu" for n in names)
    used = [f"{n} >> {n}" for n in names]
    assert_runs(compile_text(f"{declared}\nnet N(given: f32[2]) -> f32[2] = {' >> '.join(used)}"))
    rule = "rule F join mean {{ F[1] = {0}  F[n+1] = F[n] >> F[n] | {0} }}\nnet N{1}(x: f32[2]) -> f32[2] = F[2] >> {0}"
    for i, name in enumerate(names[:3]):
        assert_runs(compile_text(f"layer {name} = linear(2) >> relu\n{rule.format(name, i)}"))


@pytest.mark.parametrize("names", BATCHES, ids=lambda names: f"{names[0]}…")
def test_any_name_is_a_net_an_input_and_a_tag(names: list[str]) -> None:
    nets = [f'net {n}({n}: f32[2]) -> f32[2] = linear(2) @tag("{n}") >> gated(id, linear(2))' for n in names]
    for compiled in check(Source("<text>", "\n".join(nets))):
        assert_runs(compiled)


@pytest.mark.parametrize("names", BATCHES, ids=lambda names: f"{names[0]}…")
def test_any_name_is_a_rule_and_a_parameter(names: list[str]) -> None:
    declared = [
        f"param p{n}: int = 2\n"
        f"rule {n}({n}2: int) join mean {{ {n}[1] = linear({n}2)  {n}[{n}3+1] = {n}[{n}3] | linear({n}2) }}"
        for n in names
    ]
    used = " >> ".join(f"{n}[2](p{n})" for n in names)
    assert_runs(compile_text("\n".join([*declared, f"net N(given: f32[2]) -> f32[2] = {used}"]), {f"p{names[0]}": 2}))


PYTHON = """
from torch import nn

class Takes(nn.Linear):
    def __init__(self, **given):
        super().__init__(given.pop("out", 3), 3)
        self.given = given

setattr(nn, "Private", Takes)
globals()["__Hidden"] = Takes
globals()["None_"] = Takes
"""


@pytest.mark.parametrize("names", BATCHES, ids=lambda names: f"{names[0]}…")
def test_any_name_is_an_argument_of_a_python_class(
    names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "takes_any.py").write_text(PYTHON)
    used = [f"two({n}=1) >> two({n}=2)" for n in names[::4] if n != "self"]
    signature = ", ".join(f"{n}: int = 0" for n in names[::4] if n != "self")
    (tmp_path / "spec.frac").write_text(
        f'extern layer two({signature}) from "takes_any:Takes"\nnet N(x: f32[3]) -> f32[3] = {" >> ".join(used)}\n'
    )
    assert_runs(compile_file(tmp_path / "spec.frac", allow_python=True))


@pytest.mark.parametrize(
    ("module", "cls"),
    [("nn", "Takes"), ("collections_", "Takes"), ("takes", "__Hidden"), ("class", "Takes"), ("x.None", "None_")],
)
def test_any_python_class_is_found_again(
    module: str, cls: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / (module.replace(".", "/") + ".py")
    file.parent.mkdir(exist_ok=True)
    file.write_text(PYTHON)
    (tmp_path / "spec.frac").write_text(
        f'extern layer block1(out: int = 3) from "{module}:{cls}"\n'
        "layer f(n: int) = block1(n) >> relu >> block1\n"
        "rule F join mean { F[1] = linear(3) F[n+1] = F[n] | f(3) }\n"
        "net N(x: f32[3]) -> f32[3] = F[2] >> block1 >> f(3)\n"
    )
    assert_runs(compile_file(tmp_path / "spec.frac", allow_python=True))


@pytest.mark.parametrize(
    "body",
    [
        "layer a = linear(3)\nlayer a_2 = linear(3)\nnet N(x: f32[3]) -> f32[3] = a >> a >> a_2 >> a_2",
        "layer linear_2 = linear(3) >> relu\nnet N(x: f32[3]) -> f32[3] = linear(3) >> linear(3) >> linear_2",
        "layer block1 = linear(3)\nlayer column1 = block1 >> relu\nlayer join1 = linear(3)\n"
        "rule F join mean { F[1] = block1 F[n+1] = F[n] >> column1 | join1 >> block1 }\n"
        "net N(x: f32[3]) -> f32[3] = block1 >> F[3] >> block1 >> column1",
        "let s = 3\nshared a_2 = linear(3)\nlayer a = linear(s)\nnet N(x: f32[3]) -> f32[3] = a >> a >> a_2 >> a_2",
    ],
)
def test_numbered_names_do_not_meet_those_of_users(body: str) -> None:
    compiled = compile_text(body)
    model = build(compiled)
    assert sum(p.numel() for p in model.parameters()) == compiled.summary.params
    assert_runs(compiled)


def test_equal_arguments_of_different_types_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "typed.py").write_text(
        "from torch import nn\nclass Typed(nn.Linear):\n    def __init__(self, a, b):\n"
        "        super().__init__(3, 3)\n        self.kinds = a, b\n"
    )
    (tmp_path / "spec.frac").write_text(
        'extern layer t(a: int, b: bool) from "typed:Typed"\n'
        "layer f(a: int, b: bool) = t(a, b) >> relu\nnet N(x: f32[3]) -> f32[3] = f(1, true) >> f(0, false)\n"
    )
    compiled = compile_file(tmp_path / "spec.frac", allow_python=True)
    source = model_source(compiled, compiled.graph)
    assert "F(1, True)" in source and "F(0, False)" in source


@pytest.mark.parametrize("name", ["class", "lambda", "None"])
def test_pythons_keywords_are_no_keywords_here(name: str) -> None:
    compiled = compile_text(f"layer {name} = linear(3)\nnet N(x: f32[3]) -> f32[3] = {name}")
    assert build(compiled).eval()(torch.zeros(1, 3)).shape == (1, 3)


def test_mangled_names_are_plain_identifiers() -> None:
    for name in HOSTILE:
        assert mangle(name).isidentifier() and mangle(name).isascii() and not mangle(name).startswith("_")
        assert mangle(name) not in RESERVED


def test_class_names_hide_nothing() -> None:
    assert class_name("Digits") == "Digits" and class_name("größe") == "größe"
    for name in HOSTILE:
        written = class_name(name)
        assert written.isidentifier() and not keyword.iskeyword(written) and not hasattr(builtins, written)
