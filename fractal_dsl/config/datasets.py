"""Data sets by name, each with its settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fractal_dsl.config.settings import Settings


class Digits(Settings):
    """The 1,797 handwritten digits that come with the package: f32[1, 8, 8], 10 classes."""

    name: Literal["digits"] = "digits"


class Synthetic(Settings):
    """Made-up images of the net's input shape: noisy, shifted patterns, one for each class."""

    name: Literal["synthetic"] = "synthetic"
    classes: int | None = Field(default=None, ge=2, description="by default as many as the net has outputs")
    size: int = Field(default=2000, ge=10, le=1_000_000, description="number of images, the test images among them")
    noise: float = Field(default=0.5, ge=0, description="standard deviation of the noise; the patterns' is 1")
    seed: int = Field(default=0, ge=0, description="seed of the images, apart from the run's seed")


class Published(Settings):
    """A published data set by its name alone."""

    name: Literal["cifar10", "cifar100", "svhn", "imagenet"]


Dataset = Annotated[Digits | Synthetic | Published, Field(discriminator="name")]
