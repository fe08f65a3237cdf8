"""All the settings of a training run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fractal_dsl.config.datasets import Dataset
from fractal_dsl.config.optimizers import Halving, Schedule, Sgd
from fractal_dsl.config.settings import Settings, named


class TrainConfig(Settings):
    """How to train a net. A run's result is a function of this, the spec and its parameters."""

    dataset: Annotated[Dataset | None, named(None)] = Field(default=None, description="what to train on")
    epochs: int = Field(default=10, ge=1, le=1_000_000, description="passes over the training images")
    batch: int = Field(default=32, ge=1, le=1_000_000, description="images in a mini-batch")
    seed: int = Field(default=0, ge=0, lt=2**63, description="seed of the weights and of every draw in training")
    validation: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        description="share of the training images held out to choose the best weights by; 0: the last are the best",
    )
    optimizer: Annotated[Sgd, named("sgd")] = Sgd()
    schedule: Annotated[Schedule, named("halving")] = Halving()
