"""Generated examples of any net's input type. RandomState makes them equal under every version of NumPy."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np
from numpy.typing import NDArray

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.config import Synthetic
from fractal_dsl.data.source import MAX_BYTES, Examples, numbered

_CHUNK = 4_000_000
_TOKENS = 256


def synthesised(config: Synthetic, into: ops.Tensor, outputs: int, vocabulary: int | None) -> Examples:
    """Generate examples of this input type. Every ``classes``-th example belongs to the same class.

    Images, sequences and volumes are fractal textures, uint8; other inputs are rows of float32, or int64 tokens below
    ``vocabulary``. Raises UserError for too many or too few examples.
    """
    classes = config.classes or outputs
    number = 1 if len(into.shape) > 1 and into.dtype == "f32" else 4 if into.dtype == "f32" else 8
    if config.size * prod(into.shape) * number > MAX_BYTES:
        raise UserError(f"{config.size:,} examples of {into} do not fit into memory: lower `dataset.size`")
    if config.size < 4 * classes:
        raise UserError(f"{config.size:,} examples are too few for {classes} classes: raise `dataset.size`")
    rng = np.random.RandomState(config.seed % 2**32)
    labels = np.arange(config.size, dtype=np.int64) % classes
    if into.dtype == "i64":
        inputs = _tokens(rng, labels, classes, into.shape, vocabulary or _TOKENS, config.noise)
    elif len(into.shape) == 1:
        inputs = _rows(rng, labels, classes, into.shape[0], config.noise)
    else:
        inputs = _textures(rng, labels, classes, into.shape, config.noise)
    return Examples(inputs, labels, numbered(classes))


def _textures(
    rng: np.random.RandomState, labels: NDArray[np.int64], classes: int, shape: tuple[int, ...], noise: float
) -> NDArray[np.uint8]:
    """Fractal noise: sums of waves with random phases whose power falls with the frequency, as 1 / f**beta.

    A class has its own beta (between 1 and 4), directions, mix of channels, and texture. An example of the class is its
    texture, shifted by up to an eighth, plus ``noise`` times a new texture of the same kind.
    """
    space = shape[1:]
    amplitudes = _amplitudes(rng, classes, space)
    mixes = rng.standard_normal((classes, shape[0], shape[0])) + np.eye(shape[0])
    mixes /= np.linalg.norm(mixes, axis=2, keepdims=True)
    patterns = _waves(rng, np.arange(classes), amplitudes, mixes, space).astype(np.float32)
    axes = tuple(range(1, len(shape)))
    images = np.empty((len(labels), *shape), np.uint8)
    step = max(1, _CHUNK // prod(shape))
    for start, stop in pairwise([*range(0, len(labels), step), len(labels)]):
        kinds = labels[start:stop]
        shifts = np.stack([rng.randint(-(size // 8), size // 8 + 1, len(kinds)) for size in space], 1)
        textures = noise * _waves(rng, kinds, amplitudes, mixes, space)
        for texture, kind, shift in zip(textures, kinds, shifts, strict=True):
            texture += np.roll(patterns[kind], tuple(shift), axes)
        images[start:stop] = np.clip(textures * 40 + 128, 0, 255)
    return images


def _amplitudes(rng: np.random.RandomState, classes: int, space: tuple[int, ...]) -> NDArray[np.float64]:
    """The amplitude of every wave by class [classes, …], the square root of its power. The constant has none."""
    falls = 1 + 3 * (rng.permutation(classes) + 0.5) / classes
    axes = [np.fft.fftfreq(s) for s in space[:-1]] + [np.fft.rfftfreq(space[-1])]
    waves = np.stack(np.meshgrid(*axes, indexing="ij"))
    result = np.empty((classes, *waves.shape[1:]))
    for k, fall in enumerate(falls):
        rotation = np.linalg.qr(rng.standard_normal((len(space), len(space))))[0]
        stretch = np.exp2(2 * rng.random_sample(len(space)))
        radius = np.sqrt(np.square(np.tensordot(stretch[:, None] * rotation, waves, 1)).sum(0))
        radius.flat[0] = np.inf
        result[k] = radius ** (-fall / 2)
    return result


def _waves(
    rng: np.random.RandomState,
    kinds: NDArray[np.int64],
    amplitudes: NDArray[np.float64],
    mixes: NDArray[np.float64],
    space: tuple[int, ...],
) -> NDArray[np.float64]:
    """A new texture for each kind, with mean 0 and deviation 1 in each channel [n, channels, …]."""
    channels = mixes.shape[1]
    drawn = (len(kinds), channels, *amplitudes.shape[1:])
    phases = np.frombuffer(rng.bytes(prod(drawn)), np.uint8).reshape(drawn)
    circle = np.exp(2j * np.pi * np.arange(256) / 256)
    spectrum = circle[phases] * amplitudes[kinds][:, None]
    axes = tuple(range(2, 2 + len(space)))
    waves = np.fft.irfftn(spectrum, space, axes).reshape(len(kinds), channels, -1)
    waves = mixes[kinds] @ waves
    deviation = waves.std(2, keepdims=True)
    return (waves / np.where(deviation > 0, deviation, 1)).reshape(len(kinds), channels, *space)


def _rows(
    rng: np.random.RandomState, labels: NDArray[np.int64], classes: int, features: int, noise: float
) -> NDArray[np.float32]:
    """Points around a centre for each class."""
    centres = rng.standard_normal((classes, features))
    return (centres[labels] + noise * rng.standard_normal((len(labels), features))).astype(np.float32)


def _tokens(
    rng: np.random.RandomState,
    labels: NDArray[np.int64],
    classes: int,
    shape: tuple[int, ...],
    vocabulary: int,
    noise: float,
) -> NDArray[np.int64]:
    """Words by Zipf's law: the r-th most frequent word is drawn 1/r as often as the first.

    The ranking of the words differs by class, except for a share noise / (1 + noise) of the draws.
    """
    orders = np.stack([rng.permutation(vocabulary) for _ in range(classes + 1)])
    frequencies = 1 / np.arange(1, vocabulary + 1)
    ranks = rng.choice(vocabulary, (len(labels), *shape), p=frequencies / frequencies.sum())
    common = rng.random_sample(ranks.size).reshape(ranks.shape) < noise / (1 + noise)
    own = labels.reshape(-1, *(1,) * len(shape))
    return orders[np.where(common, classes, own), ranks].astype(np.int64)
