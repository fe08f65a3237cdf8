"""Predictions of a trained net for files of inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.data import vocabularies_of
from fractal_dsl.data.inputs import NamedInput, read_examples
from fractal_dsl.evaluation.answering import Answerer, Confidence, Way
from fractal_dsl.evaluation.evaluate import choose_device, to_stderr
from fractal_dsl.evaluation.readings import ByOutput, Mask, Reading, by_output, reader
from fractal_dsl.evaluation.run import Run, Weights
from fractal_dsl.runs.data_record import DataRecord
from fractal_dsl.runtime.anytime import Answer
from fractal_dsl.runtime.arguments import each, tensors_in
from fractal_dsl.tasks.infer import make


@dataclass(frozen=True)
class Prediction:
    """What a net predicts for one input.

    ``column`` is the one that answered; None is the whole net. ``macs`` counts the multiply-accumulates, and ``ms`` is
    the time in milliseconds. ``files`` are the mask and its overlay, if they were written.
    """

    file: str
    reading: Reading
    column: int | None
    macs: int
    ms: float
    files: tuple[Path, Path] | None = None

    def as_json(self) -> dict[str, Any]:
        """``file``, the keys of the reading, ``mask`` and ``overlay`` of segmentation, ``column`` and ``ms``."""
        files: dict[str, Any] = {}
        if isinstance(self.reading, Mask):
            mask, overlay = map(str, self.files) if self.files else (None, None)
            files = {"mask": mask, "overlay": overlay}
        return {"file": self.file, **self.reading.as_json(), **files, "column": self.column, "ms": self.ms}


def predict(
    run: Run,
    paths: Sequence[Path],
    *,
    column: int | None = None,
    confidence: float | None = None,
    budget_ms: float | None = None,
    top: int | None = None,
    output: Path | None = None,
    weights: Weights = "best",
    device: str | None = None,
    say: Callable[[str], object] = to_stderr,
) -> Iterator[Prediction]:
    """Yield a prediction for each input in the files, in order.

    The whole net answers in mini-batches, or ``column`` by itself. With ``confidence`` (0 to 1), the first column that
    is so confident answers; with ``budget_ms``, the last one within the budget, which starts after normalisation.
    Inputs then run one at a time. ``top`` is the number of classes of a classification, by default 1. ``output`` is a
    folder for the masks of a segmentation.

    All files are read first. Raises UserError if one cannot be read or does not fit the net, or an option has no
    meaning for the task of the run; calls ``say`` for probable mistakes.
    """
    trained = run.data()
    _check_options(run, trained, top, output, confidence)
    way = Way(column, confidence, budget_ms)
    way.check()
    place = choose_device(device)
    model = run.load(weights).to(place)
    answerer, sure = Answerer(model, way), _confidence(run, trained, model.outputs)
    vocabularies = vocabularies_of(model.join_graph)
    inputs = [one for path in paths for one in read_examples(path, model.inputs, trained, vocabularies, say)]
    if not inputs:
        raise UserError("there is nothing to predict: the files contain no inputs")
    files = None
    if output is not None:
        from fractal_dsl.evaluation.mask_files import MaskFiles  # needs Pillow

        files = MaskFiles(output, inputs, trained, next(iter(model.outputs.values())).shape[0])
    answers = answerer.each(normalised(trained, [one.value for one in inputs], place), sure)
    return _predictions(answers, inputs, trained, [*model.outputs], top, files)


def _check_options(
    run: Run, trained: DataRecord, top: int | None, output: Path | None, confidence: float | None
) -> None:
    """Raise UserError for an option that has no meaning for the task of the run."""
    if top is not None and trained.task != "classification":
        raise UserError(f"{run.folder} was trained for {trained.task}, and --top is for classification: leave it out")
    if output is not None and trained.task != "segmentation":
        raise UserError(
            f"{run.folder} was trained for {trained.task}, and -o is for the masks of segmentation: leave it out, or "
            "print predictions to a file with --json > FILE"
        )
    if confidence is not None and trained.task == "regression":
        raise UserError(
            f"{run.folder} was trained for regression, whose outputs do not tell how sure the net is: leave "
            "--confidence out, or choose --column or --budget-ms"
        )


def _confidence(run: Run, trained: DataRecord, outputs: Mapping[str, ops.Tensor]) -> Confidence:
    """The confidence of outputs, by the task of the run; of the first output if there are several."""
    ignored, unit = (trained.targets.ignored, trained.targets.unit) if trained.targets else (None, "token")
    config, out = run.config.model_copy(update={"loss": None, "label_smoothing": 0.0}), next(iter(outputs.values()))
    task = make(config, trained.task, run.compiled.program.net, out, ignored, unit)

    def sure(output: Tensor) -> Tensor:
        confidence = task.confidence(tensors_in(output)[0])
        assert confidence is not None  # _check_options
        return confidence

    return sure


def _predictions(
    answers: Iterator[Answer],
    inputs: Sequence[NamedInput],
    trained: DataRecord,
    outputs: Sequence[str],
    top: int | None,
    files: Any,
) -> Iterator[Prediction]:
    read = by_output(trained, outputs, top or 1) if len(outputs) > 1 else reader(trained, top or 1)
    for number, (one, answer) in enumerate(zip(inputs, answers, strict=True)):
        output = each(lambda all: all[0], answer.logits)
        if not all(bool(torch.isfinite(one).all()) for one in tensors_in(output)):
            raise UserError(
                f"{one.name}: the net's output is infinite or undefined. Train it with a lower learning rate"
            )
        reading, written = read(output), None
        main = reading.main if isinstance(reading, ByOutput) else reading
        if files is not None and isinstance(main, Mask):
            written = files.write(number, one, main.classes.numpy())
        yield Prediction(one.name, reading, answer.column, answer.macs, 1000 * answer.seconds, written)


def normalised(trained: DataRecord, values: Sequence[Tensor], place: torch.device) -> Sequence[Tensor]:
    """The inputs of the net on its device: normalised values, or tokens as they are."""
    if isinstance(values[0], tuple):
        columns = zip(trained.by_input, zip(*values, strict=True), strict=True)
        ends = [normalised(trained.of_input(name), column, place) for name, column in columns]
        return cast(Sequence[Tensor], [*zip(*ends, strict=True)])
    if values[0].dtype == torch.int64:
        return [x.to(place) for x in values]
    by_channel = (-1, *(1,) * (values[0].ndim - 1))
    mean, std = (torch.tensor(m, device=place).reshape(by_channel) for m in (trained.mean, trained.std))
    return [(x.to(place).float() - mean) / std for x in values]
