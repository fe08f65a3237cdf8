"""Distillation from the whole net to its columns."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fractal_dsl.config.settings import Settings


class Distill(Settings):
    """Columns also learn the outputs of the whole net (Hinton et al. 2015). `docs/tasks.md` explains it."""

    name: Literal["distill"] = "distill"
    weight: float = Field(
        default=0.5, gt=0, le=1, description="share of the whole net's outputs in a column's loss; the rest is targets"
    )
    temperature: float | None = Field(
        default=None,
        gt=0,
        description="softens both outputs before they are compared; by default 2. Not for regression",
    )
