"""Options of `train` and `sweep` that stand for settings of the train block."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import typer

Epochs = Annotated[int | None, typer.Option(min=1, help="Passes over the training images.")]
Batch = Annotated[int | None, typer.Option(min=1, help="Images in a mini-batch.")]
Rate = Annotated[float | None, typer.Option(metavar="RATE", help="The learning rate at its highest.")]
DataSet = Annotated[str | None, typer.Option(metavar="NAME", help="What to train on.")]
Download = Annotated[bool, typer.Option("--download", help="Fetch the data set where it is missing.")]
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="Leave out image files that cannot be read, and list them.")
]
Precision = Annotated[str | None, typer.Option(metavar="fp32|bf16|fp16", help="Of the layers' arithmetic.")]
ChannelsLast = Annotated[bool, typer.Option("--channels-last", help="Channels last in memory.")]
Compile = Annotated[bool, typer.Option("--compile", help="torch.compile, part by part.")]
CheckpointLevels = Annotated[
    int | None, typer.Option(metavar="L", min=1, help="Recompute sub-fractals up to this level: less memory.")
]
Accumulate = Annotated[int | None, typer.Option(metavar="N", min=1, help="Run a mini-batch in N parts: less memory.")]
MaxMinutes = Annotated[float | None, typer.Option(metavar="M", help="Stop after this time, and save; inf: never.")]
Tensorboard = Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard's files.")]

_KEYS = {"lr": "optimizer.lr", "download": "dataset.download", "skip_unreadable": "dataset.skip_unreadable"}


def settings_of(flags: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """The settings that flags stand for; those that are not used are None or false.

    Wrong usage, if one is among those ``given`` by ``--set``, too.
    """
    found: dict[str, Any] = {}
    for name, value in flags.items():
        if value is None or value is False:
            continue
        key, flag = _KEYS.get(name, name), f"--{name.replace('_', '-')}"
        if key in given:
            raise typer.BadParameter(f"--set {key}={given[key]} is there, too", param_hint=flag)
        found[key] = None if value == math.inf else value
    return found
