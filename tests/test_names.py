"""Names of modules: whatever a user calls a layer, the generated module is not broken by it."""

from __future__ import annotations

import pytest
import torch

from fractal_dsl.graph.passes.assign_columns import RESERVED, mangle
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import build
from fractal_dsl.runtime.artifact import model_source


def test_reserved_names_are_all_attributes_of_a_module() -> None:
    model = build(compile_text("net N(x: f32[3]) -> f32[3] = linear(3)"))
    plain = {name for name in {*dir(model), *vars(model)} if not name.startswith("_")} - {"linear"}
    container = {name for name in dir(torch.nn.ModuleDict()) if not name.startswith("_")}
    assert plain | container <= RESERVED


@pytest.mark.parametrize("name", [*sorted(RESERVED - {"train"}), "_modules", "__class__", "größe", "x²"])
def test_any_name_compiles(name: str) -> None:
    compiled = compile_text(
        f"layer {name} = linear(3) >> relu\n"
        f"rule F join mean {{ F[1] = {name}  F[n+1] = F[n] >> F[n] | {name} }}\n"
        f"net N(x: f32[3]) -> f32[3] = {name} >> F[2] >> {name}"
    )
    model = build(compiled).eval()
    x = torch.randn(2, 3)
    assert torch.equal(model(x), model.run(x, model.full_plan()))
    assert model.n_columns == 2 and model.seed == 0
    namespace: dict[str, object] = {}
    exec(model_source(compiled, compiled.graph), namespace)
    plain = namespace["N"]()  # type: ignore[operator]
    plain.load_state_dict(model.state_dict())
    assert torch.equal(plain.eval()(x), model(x))


@pytest.mark.parametrize("name", ["class", "lambda", "None"])
def test_pythons_keywords_are_no_keywords_here(name: str) -> None:
    compiled = compile_text(f"layer {name} = linear(3)\nnet N(x: f32[3]) -> f32[3] = {name}")
    assert build(compiled).eval()(torch.zeros(1, 3)).shape == (1, 3)


def test_mangled_names_are_plain_identifiers() -> None:
    for name in ("forward", "class", "_x", "größe", "x²"):
        assert mangle(name).isidentifier() and mangle(name).isascii() and not mangle(name).startswith("_")
