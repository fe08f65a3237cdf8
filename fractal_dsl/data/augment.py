"""Augmentation of a whole mini-batch at once, on its device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fractal_dsl.config import Augmentation, NoAugmentation, Translate
from fractal_dsl.data.draws import integers, seed_for


def augmented(x: Tensor, how: Augmentation, rows: Tensor, seed: int, epoch: int) -> Tensor:
    """Mirror and translate normalised images [batch, channels, height, width] (paper, section 4: "+" and "++").

    The change of an image is a function of (seed, epoch, row of the image) alone.
    """
    if isinstance(how, NoAugmentation):
        return x
    rows = rows.to(x.device)
    if isinstance(how, Translate) and how.pixels:
        side = 2 * how.pixels + 1
        up = integers(side, seed_for("translate up", seed, epoch), rows)
        left = integers(side, seed_for("translate left", seed, epoch), rows)
        x = _windows(x, up, left, how.pixels, how.padding)
    if how.mirror:
        mirrored = integers(2, seed_for("mirror", seed, epoch), rows).bool()
        across = torch.arange(x.shape[3], device=x.device)
        columns = torch.where(mirrored[:, None], across.flip(0), across)
        x = x.gather(3, columns[:, None, None].expand(x.shape))
    return x


def augmented_masks(y: Tensor, fill: int, how: Augmentation, rows: Tensor, seed: int, epoch: int) -> Tensor:
    """Move masks [batch, height, width] as ``augmented`` moves the images of the same rows.

    Pixels from outside of an image become ``fill``, unless the image is reflected.
    """
    shifted = augmented(y[:, None].float() - fill, how, rows, seed, epoch)  # outside is 0
    return (shifted + fill)[:, 0].long()


def _windows(x: Tensor, up: Tensor, left: Tensor, pixels: int, padding: str) -> Tensor:
    """For each image, padded on all sides, the window of the image's size that starts at ``up`` and ``left``."""
    height, width = x.shape[2:]
    padded = F.pad(x, (pixels,) * 4, mode="reflect" if padding == "reflect" else "constant")
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(x), device=x.device), :, up, left]
