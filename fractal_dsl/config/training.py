"""All the settings of a training run."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fractal_dsl.config.datasets import Augmentation, Dataset, NoAugmentation, short_form
from fractal_dsl.config.distillation import Distill
from fractal_dsl.config.losses import LOSSES, Loss, OutputLoss, TaskName, by_output
from fractal_dsl.config.optimizers import Halving, Optimizer, Schedule, Sgd
from fractal_dsl.config.recalibration import AtEnd, Recalibration
from fractal_dsl.config.settings import Settings, named

FACTOR = r"^\s*[^=\s]+\s*=\s*(\d+\.?\d*|\.\d+)(e-?\d+)?\s*$"
"""An entry of ``lr_scale``: a name and a number."""


class TrainConfig(Settings):
    """How to train a net. On one kind of machine a run's result is a function of this, the spec and its parameters.

    ``precision`` and ``channels_last`` are decided before a run stores its settings: ``auto`` is never part of a run.
    """

    dataset: Annotated[Dataset | None, short_form()] = Field(default=None, description="data set to train on")
    augment: Annotated[Augmentation, named("none")] = Field(
        default=NoAugmentation.model_construct(), description="augmentation of training images, redrawn in each epoch"
    )
    task: TaskName | None = Field(
        default=None, description="what the net learns; by default it follows from its output and the targets"
    )
    loss: Annotated[Loss | None, named(None)] = Field(
        default=None, description="what training minimises; by default the loss of the task"
    )
    losses: Annotated[dict[str, OutputLoss], by_output()] = Field(
        default={},
        description="for nets with several outputs: `by_output(main=1, aux=0.3)` weighs their losses. An output that "
        "is not named has weight 1",
    )
    epochs: int = Field(default=10, ge=1, le=1_000_000, description="passes over the training examples")
    batch: int = Field(default=32, ge=1, le=1_000_000, description="examples in a mini-batch")
    accumulate: int = Field(
        default=1, ge=1, description="run each mini-batch in this many parts, one after another, to save memory"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="seed of the weights and of every random draw in training")
    validation: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        description="share of training examples held out to choose the best weights; 0: keep the last weights",
    )
    init_from: str | None = Field(
        default=None,
        min_length=1,
        description="a run, a compiled folder or a .safetensors file to take initial weights from, by name and shape",
    )
    freeze: list[str] = Field(
        default=[], description="tags (`@tag`) or modules that do not learn; their batch norms keep their statistics"
    )
    lr_scale: list[Annotated[str, Field(pattern=FACTOR)]] = Field(
        default=[],
        description='factors of the learning rate, such as ["bias=2", "stem=0.1"]: of `bias` (biases of layers), '
        "`norm` (scales and shifts of norms), tags or modules. Factors of one weight multiply",
    )
    optimizer: Annotated[Optimizer, named("sgd")] = Field(default=Sgd.model_construct(), description="the optimizer")
    schedule: Annotated[Schedule, named("halving")] = Field(
        default=Halving.model_construct(), description="schedule of the learning rate"
    )
    clip: float | None = Field(
        default=None, gt=0, description="largest gradient norm; larger gradients are scaled down"
    )
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="decay of a running average of the weights, which replaces them in the result",
    )
    recalibrate: Annotated[Recalibration, named("none")] = Field(
        default=AtEnd.model_construct(),
        description="re-estimate the batch-norm statistics of the whole net and of each column on training examples",
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="share of each label spread over all classes")
    mixup: float = Field(
        default=0.0, ge=0, description="alpha of mixup; 0: none. With cutmix, each step uses one of the two"
    )
    cutmix: float = Field(default=0.0, ge=0, description="alpha of cutmix; 0: none")
    distill: Annotated[Distill | None, named("distill")] = Field(
        default=None, description="columns also learn the outputs of the whole net, which costs its forward pass"
    )
    patience: int | None = Field(
        default=None, ge=1, description="stop after this many epochs without a better validation result"
    )

    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="arithmetic of the layers that torch autocasts; auto: fp32, or on CUDA bf16 if a short measurement "
        "of a large net shows that it is faster, but not for regression. The run keeps the choice",
    )
    channels_last: Literal[True, False, "auto"] = Field(
        default="auto",
        description="keep channels last in memory, after height and width; auto: if a short measurement of a large net "
        "shows that it is faster. The run keeps the choice",
    )
    compile: bool = Field(default=False, description="use torch.compile, column by column and part by part")
    cuda_graphs: bool = Field(
        default=False,
        description="on one GPU: launch all kernels of a repeated plan (a column's, the whole net's) at once",
    )
    checkpoint_levels: int | None = Field(
        default=None, ge=1, description="recompute sub-fractals up to this level in the backward pass, to save memory"
    )
    sync_batchnorm: bool = Field(
        default=True, description="with several processes: batch norms use the whole mini-batch, not only their share"
    )
    deterministic: bool = Field(default=True, description="on CUDA: only bit-reproducible convolutions")

    max_minutes: float | None = Field(
        default=None, gt=0, description="stop and save after this many minutes; the run can be resumed"
    )
    save_steps: int | None = Field(default=None, ge=1, description="save the state after this many steps, too")
    save_minutes: float = Field(default=10.0, gt=0, description="save the state after this many minutes, too")
    track_columns: bool = Field(
        default=False,
        description="measure each column in training and validation, and gradients by depth, in each epoch",
    )
    plain: int | None = Field(
        default=None, ge=1, description="also train this column's architecture alone, for comparison"
    )
    tensorboard: bool = Field(default=False, description="also write logs for TensorBoard")
    wandb: str | None = Field(default=None, min_length=1, description="also log to Weights & Biases, in this project")
    mlflow: str | None = Field(default=None, min_length=1, description="also log to MLflow, in this experiment")
    profile: bool = Field(default=False, description="profile ten steps, and write a table and a trace file")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.task and self.loss and self.loss.name not in LOSSES[self.task]:
            losses = " or ".join(f"`{name}`" for name in LOSSES[self.task])
            raise ValueError(f"`loss` of {self.task} is {losses}, not `{self.loss.name}`")
        if self.patience is not None and not self.validation:
            raise ValueError("`patience` needs validation examples: set `validation` above 0")
        if self.accumulate > self.batch:
            raise ValueError(f"a mini-batch of {self.batch} cannot be split into {self.accumulate} parts")
        if self.schedule.warmup > self.epochs:
            raise ValueError(f"a warm-up of {self.schedule.warmup:g} epochs does not fit into {self.epochs} epochs")
        if self.cuda_graphs:
            others = {"compile": self.compile, "mixup": self.mixup, "cutmix": self.cutmix}
            others |= {"checkpoint_levels": self.checkpoint_levels, "distill": self.distill}
            others |= {'precision = "fp16"': self.precision == "fp16"}
            if used := next((f"`{name}`" for name, on in others.items() if on), None):
                raise ValueError(f"`cuda_graphs` cannot be combined with {used}")
        return self
