"""Bits per byte of a model of order 2 on the held-out text of examples/bytes.frac: what the transformer must beat.

    python benchmarks/byte_model.py

It counts which byte follows each pair of bytes in the training text. Pairs that are rare or new fall back on single
bytes, and these on no context, by the interpolation of Witten and Bell (1991). It is tested on the same bytes as the
net: all but the first of each stretch, which has no context there either.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fractal_dsl.config import parse_config
from fractal_dsl.config.paths import located
from fractal_dsl.data import ImageSet, load, net_ends
from fractal_dsl.pipeline import compile_file

ROOT = Path(__file__).parent.parent
Bytes = NDArray[np.int64]


def bits_per_byte(train: Bytes, test: Bytes) -> float:
    """Bits per byte of ``test`` [n, length] for counts in ``train`` [m, length], without the first byte of each row."""
    counts = [np.zeros((256**order, 256), np.float32) for order in range(3)]
    for order, table in enumerate(counts):
        np.add.at(table, (contexts(train, order), train[:, order:].ravel()), 1)
    first, second = test[:, :2], test
    total = -np.log2(shares(counts[:2], first)).sum() - np.log2(shares(counts, second)).sum()
    return float(total / test[:, 1:].size)


def contexts(rows: Bytes, order: int) -> Bytes:
    """The number of the ``order`` bytes before each byte of the rows from position ``order`` on."""
    number = np.zeros(rows[:, order:].shape, np.int64)
    for back in range(order, 0, -1):
        number = number * 256 + rows[:, order - back : rows.shape[1] - back]
    return number.ravel()


def shares(counts: list[NDArray[np.float32]], rows: Bytes) -> NDArray[np.float64]:
    """The probability of each byte of the rows that has a context of the highest order."""
    highest = len(counts) - 1
    target = rows[:, highest:].ravel()
    result = np.full(target.shape, 1 / 256)
    for order, table in enumerate(counts):
        context = contexts(rows[:, highest - order :], order)
        seen, kinds = table.sum(1), (table > 0).sum(1)
        known = seen[context] > 0
        mixed = (table[context, target] + kinds[context] * result) / np.maximum(seen + kinds, 1)[context]
        result = np.where(known, mixed, result)
    return result


def stretches(data: ImageSet, names: str) -> Bytes:
    """The stretches of parts, [n, length + 1]."""
    rows: list[Bytes] = []
    for name in names.split():
        part = getattr(data, name)
        x, y = part.read(torch.arange(len(part)), 0, None)
        rows.append(torch.cat([x, y[:, -1:]], 1).numpy())
    return np.concatenate(rows)


def main() -> None:
    compiled = compile_file(ROOT / "examples" / "bytes.frac")
    program = compiled.program
    config = parse_config(located(program.train, ROOT / "examples"))
    data = load(config, program.net, *net_ends(program), torch.device("cpu"))
    bits = bits_per_byte(stretches(data, "train validation"), stretches(data, "test"))
    print(f"order-2 model: {bits:.3f} bits per byte on {len(data.test):,} held-out stretches")


if __name__ == "__main__":
    main()
