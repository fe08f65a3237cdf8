"""Continues a text byte by byte with a net that predicts the byte after each of a fixed number of bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fractal_dsl.base.errors import UserError
from fractal_dsl.data import seed_for, vocabulary_of
from fractal_dsl.evaluation.answering import Answerer, Way
from fractal_dsl.evaluation.evaluate import choose_device
from fractal_dsl.evaluation.readings import text_of
from fractal_dsl.evaluation.run import Run, Weights
from fractal_dsl.runtime.anytime import largest_probability

_BYTES = 256


@dataclass(frozen=True)
class Continuation:
    """A prompt and the bytes after it. ``columns`` are those that gave each byte; None is the whole net.

    ``ms`` is the computing time of each byte in milliseconds.
    """

    prompt: bytes
    continuation: list[int]
    columns: list[int | None]
    ms: list[float]

    def text(self) -> str:
        """The prompt and its continuation. What is not UTF-8 becomes U+FFFD."""
        return text_of([*self.prompt, *self.continuation])

    def as_json(self) -> dict[str, Any]:
        """``prompt``, ``continuation`` and ``text`` (both), ``bytes`` of the continuation, ``columns`` and ``ms``."""
        return {
            "prompt": text_of(self.prompt),
            "continuation": text_of(self.continuation),
            "text": self.text(),
            "bytes": self.continuation,
            "columns": self.columns,
            "ms": sum(self.ms),
        }


def continue_prompt(
    run: Run,
    prompt: bytes,
    *,
    length: int = 200,
    temperature: float = 1.0,
    seed: int = 0,
    column: int | None = None,
    confidence: float | None = None,
    budget_ms: float | None = None,
    weights: Weights = "best",
    device: str | None = None,
) -> Continuation:
    """Draw ``length`` bytes after a prompt, one by one, from what the net gives for the last bytes that it can see.

    A ``temperature`` below 1 favours probable bytes, and 0 takes the most probable one. The bytes are a function of
    the net, the prompt, the temperature and the seed. ``column``, ``confidence`` and ``budget_ms`` choose who answers
    for each byte, as in ``predict``. Raises UserError if the net was not trained on a text, or
    does not know a byte of the prompt.
    """
    trained = run.data()
    if trained.task != "tokens" or trained.targets is None or trained.targets.unit != "byte":
        raise UserError(
            f"{run.folder} was trained for {trained.task} on `{trained.dataset}`, and --prompt is for nets that were "
            "trained on `text`: give files of inputs instead"
        )
    way = Way(column, confidence, budget_ms)
    way.check()
    place = choose_device(device)
    model = run.load(weights).to(place)
    known = min(_BYTES, vocabulary_of(model.join_graph) or _BYTES, model.output.shape[1])
    _check_prompt(prompt, known)
    writer = _Writer(Answerer(model, way), model.input.shape[0], place)
    return writer.written(prompt, length, _drawn(temperature, seed, known))


def _check_prompt(prompt: bytes, known: int) -> None:
    if not prompt:
        raise UserError("the prompt is empty: give at least one byte to continue")
    if max(prompt) >= known:
        raise UserError(f"the prompt has the byte {max(prompt)}, but the net knows only bytes from 0 to {known - 1}")


Draw = Callable[[Tensor], int]
"""A function from logits [bytes] to a byte."""


def _drawn(temperature: float, seed: int, known: int) -> Draw:
    """Draws in float64 on the CPU, so that equal logits give equal bytes everywhere."""
    generator = torch.Generator().manual_seed(seed_for("continuation", seed))

    def draw(logits: Tensor) -> int:
        x = logits[:known].double()
        if temperature == 0:
            return int(x.argmax())
        return int(torch.multinomial(((x - x.max()) / temperature).softmax(0), 1, generator=generator))

    return draw


@dataclass(frozen=True)
class _Writer:
    """Asks a net for the byte after the last ``window`` bytes."""

    answerer: Answerer
    window: int
    place: torch.device

    def written(self, prompt: bytes, length: int, draw: Draw) -> Continuation:
        """The continuation of a prompt."""
        text, columns, ms = list(prompt), list[int | None](), list[float]()
        for _ in range(length):
            shown = text[-self.window :]
            last = len(shown) - 1
            answer = self.answerer.one(self._input(shown), lambda output, at=last: largest_probability(output[:, at]))
            logits = answer.logits[0, last]
            if not torch.isfinite(logits).all():
                raise UserError("the net's output is infinite or undefined: train it with a lower learning rate")
            text.append(draw(logits))
            columns.append(answer.column)
            ms.append(1000 * answer.seconds)
        return Continuation(prompt, text[len(prompt) :], columns, ms)

    def _input(self, text: list[int]) -> Tensor:
        """Bytes as an input [1, window], filled up at the end: nets for texts are causal (``tasks/causal.py``)."""
        return torch.tensor([text + [0] * (self.window - len(text))], device=self.place)
