"""When training re-estimates the statistics of batch norms."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fractal_dsl.config.settings import Settings

EXAMPLES = 10_000
"""The training examples that statistics are re-estimated on, unless the settings give another number."""


class NoRecalibration(Settings):
    """Statistics stay as training left them."""

    name: Literal["none"] = "none"


class _Recalibration(Settings):
    examples: int = Field(
        default=EXAMPLES, ge=2, description="training examples, drawn by the seed, without augmentation; at most all"
    )


class AtEnd(_Recalibration):
    """Once, in the weights that the run keeps."""

    name: Literal["end"] = "end"


class EachEpoch(_Recalibration):
    """After each epoch, before validation chooses the best weights."""

    name: Literal["epoch"] = "epoch"


Recalibration = Annotated[NoRecalibration | AtEnd | EachEpoch, Field(discriminator="name")]


def examples_of(how: NoRecalibration | AtEnd | EachEpoch) -> int:
    """The number of training examples for a re-estimation, whether or not training makes one."""
    return EXAMPLES if isinstance(how, NoRecalibration) else how.examples
