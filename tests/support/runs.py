"""A small net with everything that draws at random, and the results that must not depend on interruptions."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fractal_dsl.config import parse_config
from fractal_dsl.evaluation.run import Run
from fractal_dsl.pipeline import compile_file
from fractal_dsl.training.parallel.shards import read_shards
from fractal_dsl.training.step import Stepper
from fractal_dsl.training.train import train

SPEC = """
layer conv(out: int) = conv2d(out, 3, padding=1, bias=false) >> dropout2d(20%) >> batchnorm2d >> relu
rule F(out: int) join mean {
    F[1]   = conv(out)
    F[n+1] = F[n] >> F[n] | conv(out)
}
net Tiny(image: f32[1, 8, 8]) -> f32[4] with drop_path(local=15%, global=50%), init("xavier")
    = F[3](6).each(maxpool2d(2)) >> sum(id, conv(6) @drop(30%)) >> flatten >> linear(4)
train {
    dataset    = synthetic(size=240, noise=0.5)
    augment    = translate(pixels=1)
    epochs     = 4
    batch      = 16
    ema        = 0.9
    mixup      = 0.2
    cutmix     = 1.0
    save_steps = 3
    optimizer  = sgd(lr=0.05, momentum=0.9)
    schedule   = cosine(warmup=1)
}
"""


def digits_run(folder: Path, epochs: int) -> Path:
    """A run of the demo's net with this number of epochs."""
    compiled = compile_file(Path(__file__).parents[2] / "examples" / "digits.frac")
    train(compiled, parse_config({**compiled.program.train, "epochs": epochs}), folder, device="cpu")
    return folder


@contextmanager
def killed_at(number: int) -> Generator[None]:
    """Kill the training inside the block before it takes step ``number``."""
    step: Any = Stepper.step

    def killed(self: Stepper, x: Any, y: Any, at: int, rate: float) -> Any:
        if at == number:
            raise KeyboardInterrupt
        return step(self, x, y, at, rate)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Stepper, "step", killed)
        yield


def ends_of(folder: Path) -> dict[str, Any]:
    """The results of a run that must not depend on interruptions: all except times and memory."""
    Run.open(folder)
    timed = {"seconds", "images_per_second", "waiting", "memory"}
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((folder / "result.json").read_text())
    newest = sorted((folder / "checkpoints").glob("step-*"))[-1]
    return {
        "metrics": [{key: value for key, value in line.items() if key not in timed} for line in lines],
        "result": {key: value for key, value in result.items() if key not in timed},
        **{name: (folder / f"{name}.safetensors").read_bytes() for name in ("best", "last")},
        "state": {name: value.numpy().tobytes() for name, value in read_shards(newest, None).items()},
        "step": newest.name,
    }
