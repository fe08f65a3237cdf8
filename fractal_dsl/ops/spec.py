"""The specification of a built-in: parameters, shape rule, cost rule, torch target."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

OpValue = int | float | bool | str | tuple[int, ...] | tuple[float, ...] | None
Args = Mapping[str, OpValue]


class Tensor(Struct, frozen=True):
    """A tensor's element type (``f32`` or ``i64``) and its shape without the batch."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


class ShapeError(Exception):
    """A layer or join does not accept a shape. ``code`` is the code of the diagnostic.

    ``operands`` are the indices, from 0, of two operands of a join that disagree.
    """

    def __init__(
        self, message: str, help: str | None = None, code: str = "E0502", operands: tuple[int, int] | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.help, self.code, self.operands = message, help, code, operands


class Required(enum.Enum):
    """Its one member marks a parameter without a default."""

    REQUIRED = enum.auto()


REQUIRED: Final = Required.REQUIRED


MAX_FLOAT = 3.4e38  # f32 holds no more
MAX_COUNT = 2**31 - 1  # torch's libraries count in 32 bits
MAX_SIZE = 2**24  # of windows, strides and paddings: larger ones hang or crash torch


class OpParam(Struct, frozen=True):
    """A parameter of a built-in.

    ``kind``: int, float, prob, bool, str, size (an int, or one for each axis), sides (an int, or two for each axis),
    numbers (an int, or several), padding (a size, ``"same"`` or ``"valid"``), scale (a number above 0, or one for each
    axis). Numbers are at least ``low``, below ``high``, and within what torch can hold. With ``keyword`` it is given by
    name only, because torch has it at another position.
    """

    name: str
    kind: str
    default: OpValue | Required = REQUIRED
    low: float | None = None
    choices: tuple[str, ...] = ()
    high: float | None = None
    keyword: bool = False

    def exceeded(self, numbers: Sequence[object]) -> str | None:
        """The bound that some of these numbers violate, in words; None if they satisfy all."""
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            most = MAX_FLOAT if isinstance(number, float) else MAX_COUNT if self.kind == "int" else MAX_SIZE
            if self.kind == "scale" and number <= 0:
                return "above 0"
            if self.low is not None and number < self.low:
                return f"at least {self.low:g}"
            if self.high is not None and number >= self.high:
                return f"below {self.high:g}"
            if abs(number) > most:
                return f"at most {most:,}" if number > 0 else f"at least {-most:,}"
        return None


class TorchModule(Struct, frozen=True):
    """What to construct: ``nn.X`` for torch.nn, else a class of ``fractal_dsl.runtime.layers``."""

    target: str
    args: tuple[OpValue, ...] = ()
    kwargs: tuple[tuple[str, OpValue], ...] = ()


class OpSpec(Struct, frozen=True):
    """A built-in layer.

    ``out`` maps an input shape to an output shape, or raises ShapeError. ``cost`` maps both to the parameters and the
    multiply-accumulates per sample of convolutions and matrix products, as torch counts them. ``torch`` says what to
    construct. ``weighted`` marks convolutions, linear layers and the like. ``rank`` is the number of spatial axes, or
    None if any number is allowed.
    """

    name: str
    params: tuple[OpParam, ...]
    out: Callable[[Tensor, Args], Tensor]
    torch: Callable[[Tensor, Args], TorchModule]
    cost: Callable[[Tensor, Tensor, Args], tuple[int, int]]
    family: str
    rank: int | None = None
    weighted: bool = False


def _weightless(operands: tuple[Tensor, ...], args: Args) -> int:
    return 0


class JoinSpec(Struct, frozen=True):
    """A join. ``out`` maps the shapes of its operands to an output shape, or raises ShapeError.

    A join with weights has ``torch``, which says what to construct for a number of operands, and ``cost``, the number
    of its parameters. ``pairs`` tells whether the raw graph has it as nested two-input joins. A join whose operands
    have parts of their own is ``inline`` only: it cannot lack one. ``macs`` are its multiply-accumulates per sample.
    ``doc`` is its meaning in a sentence, for editors.
    """

    name: str
    params: tuple[OpParam, ...]
    out: Callable[[tuple[Tensor, ...], Args], Tensor]
    torch: Callable[[int, Args], TorchModule] | None = None
    cost: Callable[[tuple[Tensor, ...], Args], int] = _weightless
    pairs: bool = True
    inline: bool = False
    macs: Callable[[tuple[Tensor, ...], Args], int] = _weightless
    doc: str = ""
