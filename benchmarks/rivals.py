"""The nets that benchmarks measure, and what they are compared with: plain columns, naive nets, and another port.

The naive nets do what ports of the paper do. A dense one computes everything, stacks the columns of a join, and masks
the dropped ones. A sparse one, as in the best ports, runs only the column in steps of global drop-path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fractal_dsl import FractalModule, build, compile_text
from fractal_dsl.plans.plan import Plan

EXAMPLES = Path(__file__).parent.parent / "examples"
NO_DROPOUT = {"drops": "[0%, 0%, 0%, 0%, 0%]"}
_BEFORE, _AFTER = ".each(maxpool2d(2))", " >> maxpool2d(2)"


@dataclass(frozen=True)
class Net:
    """A net of examples/ and a batch."""

    title: str
    file: str
    columns: int
    widths: tuple[int, ...]
    classes: int
    batch: int

    def build(self, device: str = "cpu", pool_after: bool = False) -> FractalModule:
        """Our net without dropout. It pools before the last join of each block, as in its file, or after it."""
        path = EXAMPLES / f"{self.file}.frac"
        text = path.read_text("utf-8")
        assert _BEFORE in text
        text = text.replace(_BEFORE, _AFTER) if pool_after else text
        return build(compile_text(text, {**NO_DROPOUT, "columns": str(self.columns)}), device=device)


def _nets(file: str, title: str, columns: int, batches: Sequence[int]) -> list[Net]:
    wide = file == "fractalnet20_cifar"
    widths = (64, 128, 256, 512, 512) if wide else (16, 32, 64, 128, 128)
    return [Net(f"{title}, batch {b}", file, columns, widths, 10 if wide else 100, b) for b in batches]


def _all(wide: Sequence[int], four: Sequence[int], six: Sequence[int]) -> list[Net]:
    return [
        *_nets("fractalnet_deep", "deep, C = 4", 4, four),
        *_nets("fractalnet_deep", "deep, C = 6", 6, six),
        *_nets("fractalnet20_cifar", "FractalNet-20", 3, wide),
    ]


NETS, QUICK, CUDA = _all([32], [32], [16]), _all([4], [4], []), _all([128, 512], [128, 512], [128])


def conv(into: int, out: int) -> list[nn.Module]:
    """The base layer."""
    return [nn.Conv2d(into, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]


def plain(net: Net, k: int) -> nn.Module:
    """Column k by hand."""
    layers: list[nn.Module] = []
    into = 3
    for width in net.widths:
        for _ in range(2 ** (k - 1)):
            layers += conv(into, width)
            into = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(into, net.classes))


class NaiveBlock(nn.Module):
    """f_C in 2^(C-1) rows. Each row has the columns with a layer there, and one join of them all."""

    def __init__(self, into: int, out: int, columns: int, pool_after: bool) -> None:
        super().__init__()
        self.rows, self.pool_after = 2 ** (columns - 1), pool_after
        self.columns = nn.ModuleList(nn.ModuleDict() for _ in range(columns))
        for row in range(1, self.rows + 1):
            for c, column in enumerate(self.columns):
                if row % (every := self.rows >> c) == 0:
                    column[str(row)] = nn.Sequential(*conv(into if row == every else out, out))
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor, masks: list[tuple[bool, ...]]) -> Tensor:
        """The block's output under the masks of its joins, which it takes from the list: [batch, channels, h, w]."""
        values = [x] * len(self.columns)
        for row in range(1, self.rows + 1):
            here = [c for c, column in enumerate(self.columns) if str(row) in column]
            outs = [self.columns[c][str(row)](values[c]) for c in here]
            if row == self.rows and not self.pool_after:
                outs = [self.pool(out) for out in outs]
            joined = self.join(outs, masks.pop(0)) if len(outs) > 1 else outs[0]
            for c in here:
                values[c] = joined
        return self.pool(values[-1]) if self.pool_after else values[-1]

    def join(self, outs: list[Tensor], mask: tuple[bool, ...]) -> Tensor:
        """The mean of the columns that the mask keeps, by stacking them all."""
        stacked = torch.stack(outs)
        if all(mask):
            return stacked.mean(0)
        flags = torch.tensor(mask[::-1], dtype=stacked.dtype, device=stacked.device)
        return (stacked * flags.view(-1, 1, 1, 1, 1)).sum(0) / flags.sum()

    def alone(self, x: Tensor, column: int) -> Tensor:
        """The output of one column alone, which counts from 1: [batch, channels, h, w]."""
        for layer in self.columns[column - 1].values():
            x = layer(x)
        return self.pool(x)


class Naive(nn.Module):
    """The whole net, dense. The masks of a plan are in our order of joins, with the deepest column first."""

    def __init__(self, net: Net, pool_after: bool = False) -> None:
        super().__init__()
        sizes = zip((3, *net.widths), net.widths, strict=False)
        self.blocks = nn.ModuleList(NaiveBlock(into, out, net.columns, pool_after) for into, out in sizes)
        self.head = nn.Linear(net.widths[-1], net.classes)

    def forward(self, x: Tensor, plan: Plan) -> Tensor:
        """The logits under a plan, with all columns computed: [batch, classes]."""
        masks = list(plan.live)
        for block in self.blocks:
            x = block(x, masks)
        return self.head(x.flatten(1))

    def alone(self, x: Tensor, column: int) -> Tensor:
        """The logits of a column alone, with no other column computed: [batch, classes]."""
        for block in self.blocks:
            x = block.alone(x, column)
        return self.head(x.flatten(1))


def ported(net: Net, drop: bool) -> Callable[[], nn.Module] | None:
    """Constructs pytorchcv's FractalNet of the same layers, with or without its drop-path. None if it is not installed.

    It pools after the join, computes everything, and drops paths by example: half of the mini-batch has a column each.
    """
    try:
        from pytorchcv.models.fractalnet_cifar import CIFARFractalNet
    except ImportError:
        return None
    return lambda: CIFARFractalNet(
        channels=list(net.widths),
        num_columns=net.columns,
        dropout_probs=[0.0] * len(net.widths),
        loc_drop_prob=0.15 if drop else 0.0,
        glob_drop_ratio=0.5 if drop else 0.0,
        num_classes=net.classes,
    )
