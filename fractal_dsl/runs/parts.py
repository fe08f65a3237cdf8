"""The names of the files that training writes into a run's folder. Every other file belongs to the user."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from fractal_dsl.base.files import remove_temporaries
from fractal_dsl.base.lock import LOCK
from fractal_dsl.base.parts import remove_parts

CHECKPOINTS: Final = "checkpoints"
TENSORBOARD: Final = "tensorboard"
TRACKED: Final = "tracked"
"""Begins the names of files with the ids of the run at Weights & Biases and MLflow."""
PLAIN: Final = "plain"
INITIAL: Final = "initial.safetensors"
"""The initial weights, if they were not drawn from the seed."""
ORIGIN: Final = "initial.json"
"""The source of the initial weights, if the setting ``init_from`` names one."""
LENGTHENED: Final = "epochs.json"
"""The numbers of epochs of the run, in order, if a resumed run was given more."""
SESSIONS: Final = "sessions.json"
"""The size of the net, and the date, command and device of each part of the training."""
MISTAKES: Final = "mistakes.json"
"""The test examples with the highest loss."""
WRITTEN: Final = ".weights.json"
"""Beside the weights: the hashes of the present files, and of those about to replace them."""

_TRAINED = ("metrics.jsonl", "gradients.json", "last.safetensors", "best.safetensors", "profile.txt", "trace.json")
SEALED: Final = (
    *("params.json", "config.json", "paths.json", "data.json", "graph.svg", "result.json", INITIAL, ORIGIN, LENGTHENED),
    *_TRAINED,
    *(f"{PLAIN}/{name}" for name in _TRAINED),
)
"""The files that the manifest covers, apart from the spec."""
_UNSEALED = (
    *("report.html", "curves.svg", "columns.svg", "losses.svg", "gradients.svg", "paths.svg"),
    *(f"{TRACKED}.wandb", f"{TRACKED}.mlflow"),
    *(SESSIONS, MISTAKES, LOCK, WRITTEN, f"{PLAIN}/{WRITTEN}"),
)
_MANY = (
    *(f"{part}{CHECKPOINTS}/{kind}step-*" for part in ("", f"{PLAIN}/") for kind in ("", "refused-")),
    f"{TENSORBOARD}/events.out.tfevents.*",
)


def discard(run: Path, spec: Iterable[str]) -> None:
    """Delete what training wrote into a run that cannot be resumed, and the folder if nothing else is in it.

    ``spec`` are the paths of its spec's files.
    """
    for folder in (run, run / PLAIN, run / CHECKPOINTS, run / PLAIN / CHECKPOINTS):
        remove_temporaries(folder)
    many = [path.relative_to(run).as_posix() for pattern in _MANY for path in run.glob(pattern)]
    folders = (f"{PLAIN}/{CHECKPOINTS}", CHECKPOINTS, TENSORBOARD, PLAIN)
    remove_parts(run, [*spec, *SEALED, *_UNSEALED, *many], folders)
