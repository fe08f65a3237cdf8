"""Optimizers, and schedules of their learning rate."""

import math
from bisect import bisect_right
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fractal_dsl.config.settings import Settings


class _Optimizer(Settings):
    move_dropped: bool = Field(
        default=False,
        description="weights that a plan drops keep moving by momentum and weight decay, as in Caffe; else they rest",
    )


class Sgd(_Optimizer):
    """Stochastic gradient descent."""

    name: Literal["sgd"] = "sgd"
    lr: float = Field(default=0.02, gt=0, description="highest learning rate; the schedule lowers it")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum: share of each update carried into the next")
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty on every parameter")
    nesterov: bool = Field(default=False, description="Nesterov's momentum; needs momentum above 0")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("`nesterov` needs `momentum` above 0")
        return self


class AdamW(_Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2017)."""

    name: Literal["adamw"] = "adamw"
    lr: float = Field(default=0.001, gt=0, description="highest learning rate; the schedule lowers it")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="decay of the mean of gradients")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="decay of the mean of squared gradients")
    eps: float = Field(default=1e-8, gt=0, description="added to the denominator to avoid division by zero")
    weight_decay: float = Field(default=0.01, ge=0, description="decoupled weight decay, times the learning rate")


Optimizer = Annotated[Sgd | AdamW, Field(discriminator="name")]


class _Schedule(Settings):
    """The warm-up that all schedules share: a rise from a hundredth of the rate, linear in the epochs done."""

    warmup: float = Field(default=0.0, ge=0, description="epochs of warm-up to the highest rate")

    def factor(self, epoch: float, epochs: int) -> float:
        """The factor of the learning rate after ``epoch`` of ``epochs``."""
        risen = min(1.0, 0.01 + 0.99 * epoch / self.warmup) if self.warmup else 1.0
        return risen * self.fall(epoch, epochs)

    def fall(self, epoch: float, epochs: int) -> float:
        """The factor without the warm-up."""
        raise NotImplementedError


class Halving(_Schedule):
    """The paper's (section 4): the rate drops each time the remaining epochs halve (at 200, 300, 350, 375, … of
    400)."""

    name: Literal["halving"] = "halving"
    gamma: float = Field(default=0.1, gt=0, le=1, description="factor of each drop")
    drops: int | None = Field(default=None, ge=0, description="largest number of drops; by default unlimited")

    def fall(self, epoch: float, epochs: int) -> float:
        """``gamma`` to the number of halvings so far; it changes between epochs only."""
        remaining = max(1, epochs - int(epoch))
        halvings = (epochs // remaining).bit_length() - 1
        return self.gamma ** (halvings if self.drops is None else min(halvings, self.drops))


class Cosine(_Schedule):
    """Half a cosine wave, from the end of the warm-up down to `floor` (Loshchilov and Hutter, 2016)."""

    name: Literal["cosine"] = "cosine"
    floor: float = Field(default=0.0, ge=0, le=1, description="share of the rate left at the end")

    def fall(self, epoch: float, epochs: int) -> float:
        """From 1 to ``floor``, changing at every step."""
        done = min(1.0, max(0.0, epoch - self.warmup) / max(1e-9, epochs - self.warmup))
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2


class Step(_Schedule):
    """The rate drops after the given epochs."""

    name: Literal["step"] = "step"
    at: list[int] = Field(min_length=1, description="the epochs after which it drops, such as [50, 65]")
    gamma: float = Field(default=0.1, gt=0, le=1, description="factor of each drop")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(b <= a for a, b in zip([0, *self.at], self.at, strict=False)):
            raise ValueError("`at` must be increasing epochs from 1")
        return self

    def fall(self, epoch: float, epochs: int) -> float:
        """``gamma`` to the number of falls so far."""
        return self.gamma ** bisect_right(self.at, int(epoch))


class Constant(_Schedule):
    """A constant rate."""

    name: Literal["constant"] = "constant"

    def fall(self, epoch: float, epochs: int) -> float:
        """1."""
        return 1.0


Schedule = Annotated[Halving | Cosine | Step | Constant, Field(discriminator="name")]
