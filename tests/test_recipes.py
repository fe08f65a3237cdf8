"""The specs in examples/: each checks, reads as the formatter writes, has its parameters, says what the paper's table
says, and trains on a small data set in the real format."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from fractal_dsl.config import Cifar, NoAugmentation, Svhn, Translate, parse_config
from fractal_dsl.data import batch_order, load, net_ends, vocabularies_of
from fractal_dsl.graph.graph import Layer
from fractal_dsl.language.source import Source
from fractal_dsl.language.syntax_to_text import syntax_to_text
from fractal_dsl.pipeline import check, compile_file, parse
from fractal_dsl.runtime import build
from tests.support import fakes

EXAMPLES = Path(__file__).parent.parent / "examples"
FILES = {str(path.relative_to(EXAMPLES).with_suffix("")): path for path in sorted(EXAMPLES.rglob("*.frac"))}
FRACTALNET20 = [
    f"paper/{data}{plus}{drop}"
    for data in ("c10", "c100")
    for plus in ("", "_plus", "_plus_plus")
    for drop in ("", "_drop")
]
FRACTALNET20 += ["paper/svhn", "paper/svhn_drop"]

PARAMETERS = {  # by the parameters that are set
    "paper/widths_by_column": {"columns=4": 21_563_316, "kernels=[3, 3, 3, 3]": 47_290_804},
    "paper/plain": {"layers=5": 258_292, "layers=10": 602_324, "layers=20": 1_290_388, "layers=40": 2_666_516},
    "paper/resnet": {"n=3": 272_474, "n=18": 1_730_714},
}

# What makes a net small enough to train in no time.
SMALL: dict[str, str] = {
    **dict.fromkeys(FRACTALNET20, "paper.width=4"),
    "paper/authors": "widths=[4, 4, 4, 4, 4]",
    "paper/widths_by_column": "widths=[8, 8, 16, 16, 16]",
    "paper/plain": "widths=[4, 4, 4, 4, 4]; layers=10",
    "paper/resnet": "width=4; n=1",
    "digits": "widths=[4, 4, 4]",
    "plain": "widths=[4, 4, 4]; length=2",
    "fractalnet20_cifar": "widths=[4, 4, 4, 4, 4]",
    "fractalnet_deep": "widths=[4, 4, 4, 4, 4]; columns=3",
    "fractalnet34_imagenet": "widths=[4, 4, 4, 4]; classes=2; columns=2",
    "resnet18": "size=64; width=4; classes=2",
    "resnet34": "size=64; width=4; classes=2",
    "densenet121": "size=64; growth=4; depths=[2, 3, 2, 2]; classes=2",
    "googlenet": "size=64; classes=2",
    "stochastic_depth": "n=1; width=4",
    "vgg16": "size=32; widths=[4, 4, 8, 8, 8]; hidden=16; classes=2",
    "mlp": "widths=[8, 6]",
    "tcn": "channels=3; length=60; widths=[8, 6, 6]",
    "transformer": "vocab=50; length=12; width=16; heads=2; hidden=32",
}
NOT_TRAINED = {"paper/fractalnet", "unet"}  # what the recipes share; no classes
NOT_TRAINED |= {name for name in FILES if name.startswith("zoo/")}  # without settings of training: test_zoo.py
ON_REAL_DATA = {"bytes", "breast_cancer", "diabetes", "digit_labels", "digit_masks", "wine"}  # test_example_data.py


def settings(text: str) -> dict[str, str]:
    return dict([pair.split("=") for pair in text.split("; ")])


def test_every_example_is_looked_at() -> None:
    assert set(SMALL) | NOT_TRAINED | ON_REAL_DATA == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_it_checks_and_reads_as_the_formatter_writes(name: str) -> None:
    source = Source.read(FILES[name])
    nets = check(source)
    assert nets or name == "paper/fractalnet"
    assert syntax_to_text(parse(source)) == source.text


@pytest.mark.parametrize("name", PARAMETERS)
def test_it_has_its_parameters(name: str) -> None:
    for given, count in PARAMETERS[name].items():
        assert compile_file(FILES[name], settings(given)).summary.params == count


@pytest.mark.parametrize("name", FRACTALNET20)
def test_fractalnet20_is_trained_as_its_row_says(name: str) -> None:
    compiled = compile_file(FILES[name])
    config = parse_config(compiled.program.train)
    data, classes = {"c10": ("cifar10", 10), "c100": ("cifar100", 100), "svhn": ("svhn", 10)}[
        name.removeprefix("paper/").split("_")[0]
    ]
    assert isinstance(config.dataset, Cifar | Svhn) and config.dataset.name == data
    assert compiled.program.output.shape == (classes,) and compiled.summary.depth == 20
    assert compiled.summary.params == (33_770_788 if classes == 100 else 33_724_618)
    expected = {0: NoAugmentation(), 1: Translate(), 2: Translate(padding="reflect")}[name.count("_plus")]
    assert config.augment == expected
    assert (config.epochs, config.batch, config.validation) == (20 if data == "svhn" else 400, 100, 0)
    assert (config.optimizer.lr, config.optimizer.weight_decay) == (0.02, 0)
    drop_path = compiled.program.drop_path
    if name.endswith("_drop"):
        assert drop_path and (drop_path.local, drop_path.global_) == (0.15, 0.5)
    else:
        assert drop_path is None
    layers = [node for _, node in compiled.graph.items() if isinstance(node, Layer)]
    rates = {node.args["p"] for node in layers if node.spec.name == "dropout"}
    assert rates == ({0, 0.1, 0.2, 0.3, 0.4} if name.endswith("_drop") else {0})


def test_the_readme_of_the_paper_names_every_file() -> None:
    text = (EXAMPLES / "paper" / "README.md").read_text("utf-8")
    linked = {(EXAMPLES / "paper" / link).resolve() for link in re.findall(r"\(([\w./]+\.frac)\)", text)}
    assert all(path.is_file() for path in linked)
    assert linked >= {path.resolve() for path in (EXAMPLES / "paper").glob("*.frac")}


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("paper/") and name not in NOT_TRAINED])
def test_the_command_at_the_top_is_that_of_the_file(name: str) -> None:
    commands = re.findall(r"^#     fractal-dsl train (\S+)", FILES[name].read_text("utf-8"), re.M)
    assert commands and set(commands) == {f"examples/{name}.frac"}


@pytest.mark.parametrize("name", SMALL)
def test_it_trains_on_its_own_kind_of_data(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = compile_file(FILES[name], settings(SMALL[name]))
    block: dict[str, Any] = dict(compiled.program.train)
    dataset = block["dataset"] if isinstance(block["dataset"], dict) else {"name": block["dataset"]}
    match dataset["name"]:
        case "cifar10" | "cifar100" as cifar:
            fakes.cifar(tmp_path, cifar, monkeypatch, count=400)
            dataset["root"] = str(tmp_path)
        case "svhn":
            fakes.svhn(tmp_path, monkeypatch, {"train": 10, "extra": 10, "test": 10})
            dataset["root"] = str(tmp_path)
        case "imagenet":
            fakes.datasets()
            dataset |= {"root": str(fakes.imagenet(tmp_path)), "workers": 0}
        case "synthetic":
            dataset["size"] = 80
        case _:
            pass
    config = parse_config({**block, "dataset": dataset, "batch": 4})
    program = compiled.program
    data = load(
        config,
        program.net,
        *net_ends(program),
        torch.device("cpu"),
        vocabulary=vocabularies_of(compiled.graph),
    )
    model = build(compiled, seed=0).train()
    order = batch_order(len(data.train), config.batch, config.seed, 0)[:1]
    ((x, y),) = data.batches(data.train, order, epoch=0)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss = torch.nn.functional.cross_entropy(model.run(x, model.full_plan()), y)
    loss.backward()
    optimizer.step()
    assert loss.isfinite()
    changed = [not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    assert sum(changed) > len(changed) / 2
