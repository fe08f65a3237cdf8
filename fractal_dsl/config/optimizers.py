"""Optimizers, and schedules of their learning rate."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fractal_dsl.config.settings import Settings


class Sgd(Settings):
    """Stochastic gradient descent. What a drop-path plan leaves out has no gradient and is not updated."""

    name: Literal["sgd"] = "sgd"
    lr: float = Field(default=0.02, gt=0, description="learning rate at the start; the schedule lowers it")
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty on every parameter")
    nesterov: bool = Field(default=False, description="Nesterov's momentum; needs momentum above 0")

    @model_validator(mode="after")
    def _check(self) -> Sgd:
        if self.nesterov and not self.momentum:
            raise ValueError("`nesterov` needs `momentum` above 0")
        return self


# --- schedules: ``factor`` is what the learning rate is multiplied by when ``epoch`` of ``epochs`` are done


class Halving(Settings):
    """The paper's: the rate falls each time the remaining epochs halve (at 200, 300, 350, 375, … of 400)."""

    name: Literal["halving"] = "halving"
    gamma: float = Field(default=0.1, gt=0, le=1, description="factor of each fall")
    drops: int | None = Field(default=None, ge=0, description="stop after this many falls; by default never")

    def factor(self, epoch: float, epochs: int) -> float:
        """``gamma`` to the number of halvings so far; it changes between epochs only."""
        remaining = max(1, epochs - int(epoch))
        halvings = (epochs // remaining).bit_length() - 1
        return self.gamma ** (halvings if self.drops is None else min(halvings, self.drops))


class Constant(Settings):
    """One rate throughout."""

    name: Literal["constant"] = "constant"

    def factor(self, epoch: float, epochs: int) -> float:
        """1."""
        return 1.0


Schedule = Annotated[Halving | Constant, Field(discriminator="name")]
