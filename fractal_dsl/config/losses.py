"""Tasks by name, and the losses that can be chosen for them."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, cast

from pydantic import BeforeValidator, Field, model_validator

from fractal_dsl.config.settings import Settings, named

TaskName = Literal["classification", "multilabel", "regression", "segmentation", "tokens"]
LossName = Literal["cross_entropy", "binary_cross_entropy", "squared", "absolute", "huber"]


class CrossEntropy(Settings):
    """The cross-entropy of classes. `label_smoothing` smooths its labels."""

    name: Literal["cross_entropy"] = "cross_entropy"
    class_weights: list[float] | None = Field(default=None, min_length=1, description="a weight for each class")
    balanced: bool = Field(default=False, description="weights inverse to the frequency of each class in training")

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_weights("class_weights", self.class_weights, self.balanced)
        return self


class BinaryCrossEntropy(Settings):
    """The cross-entropy of each label by itself."""

    name: Literal["binary_cross_entropy"] = "binary_cross_entropy"
    pos_weight: list[float] | None = Field(
        default=None, min_length=1, description="a weight for the ones of each label"
    )
    balanced: bool = Field(
        default=False, description="weights of as many zeros as a label has for each one in training"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_weights("pos_weight", self.pos_weight, self.balanced)
        return self


def _check_weights(key: str, weights: list[float] | None, balanced: bool) -> None:
    if weights is None:
        return
    if balanced:
        raise ValueError(f"`balanced` computes the weights: set it, or `{key}`")
    if min(weights) < 0:
        raise ValueError(f"`{key}` must be 0 or more, found {min(weights):g}")
    if not any(weights):
        raise ValueError(f"`{key}` must not be 0 for all")


class Squared(Settings):
    """The squared error."""

    name: Literal["squared"] = "squared"


class Absolute(Settings):
    """The absolute error, which outliers affect less."""

    name: Literal["absolute"] = "absolute"


class Huber(Settings):
    """Huber's loss (1964): half the squared error up to `delta`, linear beyond it."""

    name: Literal["huber"] = "huber"
    delta: float = Field(default=1.0, gt=0, description="the error beyond which the loss is linear")


Loss = Annotated[CrossEntropy | BinaryCrossEntropy | Squared | Absolute | Huber, Field(discriminator="name")]


class OutputLoss(Settings):
    """The loss of one of several outputs, and its weight in the sum. With weight 0 the output is not trained."""

    weight: float = Field(default=1.0, ge=0, description="factor of the loss; 0: the output needs no targets")
    loss: Annotated[Loss | None, named(None)] = Field(
        default=None, description="what training minimises; by default `loss`, or the loss of the output's task"
    )


def by_output() -> BeforeValidator:
    """``by_output(main=1, aux=huber(delta=2, weight=0.3))``: a weight, a loss or both for each output, by name."""

    def expand(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return cast(object, value)
        outputs = dict(cast(Mapping[str, Any], value))
        if outputs.pop("name", "by_output") != "by_output":
            raise ValueError("write `losses = by_output(NAME=WEIGHT)`, with the names of outputs")
        return {name: _output_loss(one) for name, one in outputs.items()}

    return BeforeValidator(expand)


def _output_loss(value: Any) -> Any:
    if isinstance(value, int | float):
        return {"weight": value}
    if isinstance(value, str):
        return {"loss": value}
    if isinstance(value, Mapping) and "name" in value:
        loss = dict(cast(Mapping[str, Any], value))
        weight = {"weight": loss.pop("weight")} if "weight" in loss else {}
        return {**weight, "loss": loss}
    return cast(object, value)


LOSSES: Final[dict[TaskName, tuple[LossName, ...]]] = {
    "classification": ("cross_entropy",),
    "multilabel": ("binary_cross_entropy",),
    "regression": ("squared", "absolute", "huber"),
    "segmentation": ("cross_entropy",),
    "tokens": ("cross_entropy",),
}
"""The losses of each task. The first is the default."""
