"""A model of texts must not see the byte that it predicts."""

from __future__ import annotations

import torch

from fractal_dsl.base.errors import UserError
from fractal_dsl.runtime.arguments import tensors_in
from fractal_dsl.runtime.module import FractalModule

_TRIES = 3


def check_causal(model: FractalModule, net: str) -> None:
    """Raise UserError if the output at a position depends on later tokens, which hold its target.

    The net runs twice in eval mode, on random tokens that differ in their later half. It keeps its mode.
    """
    mode = model.training
    model.eval()
    try:
        first = _first_that_sees_ahead(model)
    finally:
        model.train(mode)
    if first is not None:
        raise UserError(
            f"net {net} sees the bytes that it must predict: its output at byte {first + 1} depends on later bytes. "
            "Use `attention(…, causal=true)`, and remove other layers that mix positions, such as `conv1d`, `flatten` "
            "or `transpose`"
        )


@torch.no_grad()
def _first_that_sees_ahead(model: FractalModule) -> int | None:
    """The first position of the earlier half whose output depends on tokens of the later half, or None."""
    length, outputs = model.input.shape[0], [*model.outputs.values()]
    classes = outputs[0].shape[1]
    half = length // 2
    generator = torch.Generator().manual_seed(0)
    for _ in range(_TRIES if half else 0):
        one, other = torch.randint(min(classes, 256), (2, 1, length), generator=generator)
        other[:, :half] = one[:, :half]
        pairs = zip(tensors_in(model(one)), tensors_in(model(other)), strict=True)
        gaps = [(a - b)[0, :half].abs().flatten(1).amax(1) for a, b in pairs if a.dim() == 3]
        apart = torch.stack(gaps).amax(0) > 1e-4
        if bool(apart.any()):
            return int(apart.nonzero()[0])
    return None
