"""What the output of a net means, by its task: classes, labels, values, a mask or tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from fractal_dsl.base.escaping import one_line
from fractal_dsl.base.texts import shortened
from fractal_dsl.runs.data_record import DataRecord

_LISTED = 12


class Reading(Protocol):
    """The meaning of the output for one input."""

    def as_json(self) -> dict[str, Any]:
        """The keys of a prediction that depend on the task."""
        ...

    def text(self) -> str:
        """The same on one line."""
        ...


@dataclass(frozen=True)
class Classes:
    """The most probable classes by the softmax, which is not calibrated: their numbers, names and probabilities."""

    classes: list[int]
    names: list[str]
    probabilities: list[float]

    @classmethod
    def of(cls, logits: Tensor, record: DataRecord, top: int) -> Classes:
        """The ``top`` most probable classes for logits [classes]."""
        shares, classes = logits.float().softmax(0).topk(min(top, len(logits)))
        numbers = cast(list[int], classes.tolist())
        return cls(numbers, [*map(record.name_of, numbers)], cast(list[float], shares.tolist()))

    def as_json(self) -> dict[str, Any]:
        """The best ``class``, its ``name`` and ``probability``, and the same for each of the ``top`` ones."""
        keys = ("class", "name", "probability")
        rows = zip(self.classes, self.names, self.probabilities, strict=True)
        top = [dict(zip(keys, row, strict=True)) for row in rows]
        return {**top[0], "top": top}

    def text(self) -> str:
        """For example "cat 91.2%, dog 8.1%"."""
        return ", ".join(_share(name, p) for name, p in zip(self.names, self.probabilities, strict=True))


@dataclass(frozen=True)
class Labels:
    """The probability of each label by itself, by the sigmoid. Those above one half are present."""

    names: list[str]
    probabilities: list[float]

    @classmethod
    def of(cls, logits: Tensor, record: DataRecord) -> Labels:
        """The labels for logits [labels]."""
        return cls([*map(record.name_of, range(len(logits)))], cast(list[float], logits.float().sigmoid().tolist()))

    @property
    def present(self) -> list[int]:
        """The labels whose probability is above one half, the most probable first."""
        order = sorted(range(len(self.names)), key=lambda i: -self.probabilities[i])
        return [i for i in order if self.probabilities[i] > 0.5]

    def as_json(self) -> dict[str, Any]:
        """``present``, the names of the labels above one half, and ``labels`` with the probability of each."""
        rows = enumerate(zip(self.names, self.probabilities, strict=True))
        labels = [{"label": i, "name": name, "probability": p} for i, (name, p) in rows]
        return {"present": [self.names[i] for i in self.present], "labels": labels}

    def text(self) -> str:
        """For example "even 98.1%, prime 73.2%"."""
        if shown := self.present:
            return ", ".join(_share(self.names[i], self.probabilities[i]) for i in shown)
        best = max(range(len(self.names)), key=self.probabilities.__getitem__)
        return f"no label above 50% (the most probable: {_share(self.names[best], self.probabilities[best])})"


@dataclass(frozen=True)
class Values:
    """The numbers that a net predicts, in the unit of its targets. ``names`` is empty for more than one axis."""

    names: list[str]
    values: Tensor

    @classmethod
    def of(cls, output: Tensor, record: DataRecord) -> Values:
        """The values for an output […], by the moments of the targets in the record."""
        targets, values = record.targets, output.double()
        if targets is not None and targets.mean:
            by_channel = (-1, *(1,) * (output.ndim - 1))
            mean, std = (torch.tensor(m, dtype=torch.float64).reshape(by_channel) for m in (targets.mean, targets.std))
            values = values * std + mean
        if output.ndim > 1:
            return cls([], values)
        known = targets.names if targets else []
        return cls(list(known) if len(known) == len(output) else [*map(str, range(len(output)))], values)

    def as_json(self) -> dict[str, Any]:
        """``values``: numbers by name, or nested lists for more than one axis."""
        numbers = cast(list[Any], self.values.tolist())
        return {"values": dict(zip(self.names, numbers, strict=True)) if self.names else numbers}

    def text(self) -> str:
        """For example "progression 152.1", or the shape and range of more than one axis."""
        x = self.values
        if self.names:
            pairs = zip(self.names, cast(list[float], x.tolist()), strict=True)
            return ", ".join(
                one_line(f"{value:.6g}" if name.isdecimal() else f"{name} {value:.6g}") for name, value in pairs
            )
        return f"{list(x.shape)} from {x.min():.4g} to {x.max():.4g}, mean {x.mean():.4g} (--json prints all)"


@dataclass(frozen=True)
class Mask:
    """The class of each pixel, ``classes`` int64 [height, width], and the share of the pixels of each class."""

    classes: Tensor
    names: list[str]
    shares: list[float]

    @classmethod
    def of(cls, logits: Tensor, record: DataRecord) -> Mask:
        """The mask for logits [classes, height, width]."""
        return cls.of_classes(logits.argmax(0), record, len(logits))

    @classmethod
    def of_classes(cls, classes: Tensor, record: DataRecord, count: int) -> Mask:
        """The mask for classes [height, width] below ``count``. Others, which are ignored, are in no share."""
        counts = classes[classes < count].bincount(minlength=count).double()
        shares = cast(list[float], (counts / max(1, counts.sum().item())).tolist())
        return cls(classes, [*map(record.name_of, range(count))], shares)

    def as_json(self) -> dict[str, Any]:
        """``classes``: the share of the pixels of each class."""
        rows = enumerate(zip(self.names, self.shares, strict=True))
        return {"classes": [{"class": i, "name": name, "share": share} for i, (name, share) in rows]}

    def text(self) -> str:
        """For example "background 81.0%, road 19.0%", the largest share first."""
        order = sorted(range(len(self.names)), key=lambda i: -self.shares[i])
        return ", ".join(_share(self.names[i], self.shares[i]) for i in order[:_LISTED] if self.shares[i])


@dataclass(frozen=True)
class TokenRow:
    """The most probable token at each position, and its probability by the softmax. ``unit`` is what a token is."""

    tokens: list[int]
    probabilities: list[float]
    unit: str

    @classmethod
    def of(cls, logits: Tensor, record: DataRecord) -> TokenRow:
        """The tokens for logits [length, vocabulary]."""
        shares, tokens = logits.float().softmax(1).max(1)
        unit = record.targets.unit if record.targets else "token"
        return cls(cast(list[int], tokens.tolist()), cast(list[float], shares.tolist()), unit)

    def as_json(self) -> dict[str, Any]:
        """``tokens`` and ``probabilities`` by position, and for bytes their ``text``."""
        text = {"text": text_of(self.tokens)} if self.unit == "byte" else {}
        return {"tokens": self.tokens, "probabilities": self.probabilities, **text}

    def text(self) -> str:
        """The tokens by position, or the bytes as text."""
        if self.unit == "byte":
            return f'"{one_line(text_of(self.tokens))}"'
        return shortened([*map(str, self.tokens)], 2 * _LISTED)


def reader(record: DataRecord, top: int = 1) -> Callable[[Tensor], Reading]:
    """The function that reads one output […] of a net with this record. ``top`` is for classification."""
    match record.task:
        case "classification":
            return lambda output: Classes.of(output, record, top)
        case "multilabel":
            return lambda output: Labels.of(output, record)
        case "regression":
            return lambda output: Values.of(output, record)
        case "segmentation":
            return lambda output: Mask.of(output, record)
        case "tokens":
            return lambda output: TokenRow.of(output, record)


@dataclass(frozen=True)
class ByOutput:
    """What each of several outputs means that were trained. The first one decides."""

    readings: dict[str, Reading]

    @property
    def main(self) -> Reading:
        """The meaning of the first output."""
        return next(iter(self.readings.values()))

    def as_json(self) -> dict[str, Any]:
        """The keys of the first output, and ``outputs`` with those of each."""
        return {**self.main.as_json(), "outputs": {name: one.as_json() for name, one in self.readings.items()}}

    def text(self) -> str:
        """For example "digit: 7 98.1%; angle: 0.25"."""
        return "; ".join(f"{name}: {one.text()}" for name, one in self.readings.items())


def by_output(record: DataRecord, outputs: Sequence[str], top: int = 1) -> Callable[[Any], Reading]:
    """The function that reads the outputs of a net for one example, a tuple in the order of ``outputs``."""
    readers = {name: reader(record.of_output(name), top) for name in record.by_output}
    return lambda given: ByOutput({name: read(given[outputs.index(name)]) for name, read in readers.items()})


def text_of(tokens: Sequence[int]) -> str:
    """Bytes as text. What is not UTF-8 becomes U+FFFD. Tokens that are no bytes are left out."""
    return bytes(token for token in tokens if token < 256).decode("utf-8", "replace")


def _share(name: str, share: float) -> str:
    return one_line(f"{name} {share:.1%}")
