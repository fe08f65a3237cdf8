"""The training settings: defaults, errors in the user's words, overrides."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from fractal_dsl.base.errors import help_text
from fractal_dsl.config import (
    AdamW,
    ConfigError,
    Cosine,
    Halving,
    Sgd,
    Step,
    Synthetic,
    TrainConfig,
    merge,
    parse_config,
)
from fractal_dsl.config.errors import variants
from fractal_dsl.program.literals import literal

BLOCK = {
    "dataset": "digits",
    "epochs": 10,
    "optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.8},
    "schedule": {"name": "halving", "gamma": 0.1},
}


def findings(data: dict[str, object]) -> list[tuple[tuple[str | int, ...], str, str | None]]:
    with pytest.raises(ConfigError) as caught:
        parse_config(data)
    return [(path, message, help_text(help)) for path, message, help in caught.value.findings]


def test_block_is_resolved_with_defaults() -> None:
    config = parse_config(BLOCK)
    assert config.dataset is not None and config.dataset.name == "digits"
    assert config.optimizer == Sgd(lr=0.5, momentum=0.8)
    assert config.schedule == Halving(gamma=0.1)
    assert config.batch == 32
    assert parse_config({}).dataset is None


def test_resolved_settings_parse_to_themselves() -> None:
    config = parse_config({**BLOCK, "dataset": {"name": "synthetic", "size": 50}})
    assert parse_config(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "imagenet"])
def test_published_data_sets_are_known(name: str) -> None:
    dataset = parse_config({"dataset": name}).dataset
    assert dataset is not None and dataset.name == name


@pytest.mark.parametrize(
    ("data", "path", "message", "help"),
    [
        ({"epoch": 3}, ("epoch",), "unknown setting `epoch`", "did you mean `epochs`?"),
        ({"epochs": 0}, ("epochs",), "`epochs` must be at least 1, found 0", None),
        ({"epochs": 1.5}, ("epochs",), "`epochs` must be a whole number, found 1.5", None),
        ({"epochs": "3"}, ("epochs",), '`epochs` must be a whole number, found "3"', None),
        ({"epochs": True}, ("epochs",), "`epochs` must be a whole number, found true", None),
        ({"validation": 0.9}, ("validation",), "`validation` must be at most 0.5, found 0.9", None),
        ({"dataset": "digit"}, ("dataset",), "unknown data set `digit`", "did you mean `digits`?"),
        ({"dataset": {"name": "digits", "size": 1}}, ("dataset", "size"), "unknown setting `size` of `digits`", None),
        ({"dataset": 3}, ("dataset",), "`dataset` must be a name, or a name with settings, found 3", None),
        ({"optimizer": "adam"}, ("optimizer",), "unknown optimizer `adam`", "did you mean `adamw`?"),
        ({"optimizer": {"lr": -1}}, ("optimizer", "lr"), "`optimizer.lr` must be above 0, found -1", None),
        ({"optimizer": {"lr": float("inf")}}, ("optimizer", "lr"), "`optimizer.lr` must be a finite number", None),
        (
            {"optimizer": {"name": "sgd", "momentun": 1}},
            ("optimizer", "momentun"),
            "unknown setting `momentun` of `sgd`",
            "did you mean `momentum`?",
        ),
        ({"optimizer": {"momentum": 0, "nesterov": True}}, ("optimizer",), "`optimizer`: `nesterov` needs", None),
        ({"seed": 2**64}, ("seed",), "`seed` must be below 9,223,372,036,854,775,808, found 1844", None),
        ({"seed": "99999999999999999999"}, ("seed",), "`seed` is too large: 99999999999999999999", None),
        ({"precision": "bf1"}, ("precision",), "unknown precision `bf1`", "did you mean `bf16`?"),
        (
            {"channels_last": "yes"},
            ("channels_last",),
            "unknown channels_last `yes`",
            "there are `true`, `false`, `auto`",
        ),
        ({"channels_last": 2}, ("channels_last",), "unknown channels_last `2`", None),
        ({"schedule": "step"}, ("schedule", "at"), "`schedule.at` is missing: `step` needs it", None),
        (
            {"schedule": {"name": "step", "at": [3, 2]}},
            ("schedule",),
            "`schedule`: `at` must be increasing epochs",
            None,
        ),
        (
            {"schedule": {"name": "step", "at": []}},
            ("schedule", "at"),
            "`schedule.at` must be a non-empty list",
            None,
        ),
        (
            {"dataset": "folder:"},
            ("dataset", "path"),
            '`dataset.path` must be a non-empty string, found ""',
            None,
        ),
        ({"cuda_graphs": True, "compile": True}, (), "`cuda_graphs` cannot be combined with `compile`", None),
        ({"patience": 2, "validation": 0}, (), "`patience` needs validation examples", None),
        ({"batch": 2, "accumulate": 3}, (), "a mini-batch of 2 cannot be split into 3 parts", None),
        ({"schedule": {"name": "cosine", "warmup": 11}}, (), "a warm-up of 11 epochs does not fit into 10", None),
        ({"schedule": "halfing"}, ("schedule",), "unknown schedule `halfing`", "did you mean `halving`?"),
        (
            {"schedule": {"gama": 0.5}},
            ("schedule", "gama"),
            "unknown setting `gama` of `halving`",
            "did you mean `gamma`?",
        ),
    ],
)
def test_errors_name_key_value_and_help(
    data: dict[str, object], path: tuple[str, ...], message: str, help: str | None
) -> None:
    ((found_path, found_message, found_help),) = findings(data)
    assert found_path == path
    assert found_message.startswith(message)
    if help:
        assert found_help == help


def test_all_errors_at_once() -> None:
    found = findings({"epochs": 0, "batsh": 3, "optimizer": {"lr": 0, "x": 1}, "schedule": "none"})
    assert {path for path, _, _ in found} == {
        ("epochs",),
        ("batsh",),
        ("optimizer", "lr"),
        ("optimizer", "x"),
        ("schedule",),
    }


def test_merge_keeps_the_other_settings() -> None:
    merged = merge(BLOCK, [("optimizer.lr", 0.1), ("epochs", 3), ("validation", 0.2), ("optimizer.nesterov", True)])
    config = parse_config(merged)
    assert config.optimizer == Sgd(lr=0.1, momentum=0.8, nesterov=True)
    assert (config.epochs, config.validation) == (3, 0.2)
    assert BLOCK["optimizer"] == {"name": "sgd", "lr": 0.5, "momentum": 0.8}


@pytest.mark.parametrize("text", ["15%", "0.15"])
def test_merge_takes_the_command_lines_literals(text: str) -> None:
    config = parse_config(merge(BLOCK, [("validation", literal(text, "validation"))]))
    assert json.loads(config.model_dump_json())["validation"] == 0.15


def test_merge_by_name() -> None:
    assert merge(BLOCK, [("optimizer", "sgd")])["optimizer"] == BLOCK["optimizer"]
    assert merge(BLOCK, [("schedule", "constant")])["schedule"] == "constant"
    merged = merge(BLOCK, [("dataset", "synthetic"), ("dataset.size", 100)])
    assert parse_config(merged).dataset == Synthetic(size=100)
    assert parse_config(merge({}, [("schedule.gamma", 0.5)])).schedule == Halving(gamma=0.5)


def test_merged_mistakes_are_found() -> None:
    assert findings(merge(BLOCK, [("epochs.x", 3)]))[0][0] == ("epochs",)
    assert findings(merge(BLOCK, [("optimiser.lr", 3)]))[0][2] == "did you mean `optimizer`?"


def test_halving_is_the_papers() -> None:
    factors = [Halving().factor(epoch, 400) for epoch in range(400)]
    falls = [epoch for epoch in range(1, 400) if factors[epoch] < factors[epoch - 1]]
    assert falls[:4] == [200, 300, 350, 375]
    assert factors[0] == 1
    assert factors[200] == pytest.approx(0.1)
    assert factors[375] == pytest.approx(1e-4)
    assert Halving(drops=2).factor(399, 400) == pytest.approx(0.01)
    assert Halving().factor(199.9, 400) == 1


def test_schedules() -> None:
    step = Step(at=[50, 65])
    assert [step.factor(epoch, 70) for epoch in (49.9, 50, 64.9, 65)] == pytest.approx([1, 0.1, 0.1, 0.01])
    cosine = Cosine(warmup=10, floor=0.1)
    assert [cosine.factor(epoch, 110) for epoch in (0, 5, 10, 60, 110)] == pytest.approx([0.01, 0.505, 1, 0.55, 0.1])
    assert Halving(warmup=2).factor(1, 400) == pytest.approx(0.505)
    assert parse_config({"optimizer": {"name": "adamw", "beta2": 0.95}}).optimizer == AdamW(beta2=0.95)


def test_every_setting_says_what_it_is() -> None:
    groups = [TrainConfig, *(model for name in TrainConfig.model_fields for model in variants(name))]
    silent = [f"{g.__name__}.{n}" for g in groups for n, f in g.model_fields.items() if not f.description]
    assert [name for name in silent if not name.endswith(".name")] == []


def test_config_does_not_import_torch() -> None:
    code = "import sys, fractal_dsl.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_variant_is_chosen_before_its_settings_whatever_their_order() -> None:
    named, size = ("dataset", "synthetic"), ("dataset.size", 500)
    expected = {"dataset": {"name": "synthetic", "size": 500}}
    assert merge({"dataset": "digits"}, [named, size]) == merge({"dataset": "digits"}, [size, named]) == expected


def test_a_data_set_in_the_package_needs_no_download() -> None:
    with pytest.raises(ConfigError, match="`digits` needs no download"):
        parse_config(merge({}, [("dataset", "digits"), ("dataset.download", True)]))


def test_no_augmentation_can_be_set_by_name() -> None:
    """The command line reads ``none`` as no value, but `augment` has a variant of that name."""
    config = parse_config(merge({"augment": "translate"}, [("augment", literal("none", "augment"))]))
    assert config.augment.name == "none"
