"""Copies of a run's figures for other tools, as training goes. One that fails never stops training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from fractal_dsl.base.texts import shortened
from fractal_dsl.config import TrainConfig
from fractal_dsl.runs.parts import TENSORBOARD
from fractal_dsl.training.tensorboard import Board, require_tensorboard
from fractal_dsl.training.trackers import MlflowRun, WandbRun, require_mlflow, require_wandb


class Sink(Protocol):
    """What takes the figures of each epoch."""

    def log(self, figures: dict[str, Any]) -> None:
        """Take the figures of an epoch."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


def require_sinks(config: TrainConfig) -> None:
    """Raise UserError if a sink of the settings lacks its package or its login. Called before any work is done."""
    if config.tensorboard:
        require_tensorboard()
    if config.wandb is not None:
        require_wandb()
    if config.mlflow is not None:
        require_mlflow()


class Sinks:
    """``with Sinks(…) as log``: ``log`` gives the figures of an epoch to every sink of the settings.

    ``run`` is the run's folder, ``settings`` its parameters and settings by name. ``say`` prints a line: a sink that
    raises an error is dropped with a note.
    """

    def __init__(
        self, config: TrainConfig, run: Path, settings: Mapping[str, object], say: Callable[[str], None]
    ) -> None:
        self.run, self.settings, self.say = run, settings, say
        wandb, mlflow = config.wandb, config.mlflow
        self.makers: dict[str, Callable[[], Sink]] = {}
        if config.tensorboard:
            self.makers["TensorBoard"] = lambda: Board(run, TENSORBOARD)
        if wandb is not None:
            self.makers["Weights & Biases"] = lambda: WandbRun(run, wandb, settings)
        if mlflow is not None:
            self.makers["MLflow"] = lambda: MlflowRun(run, mlflow, settings)

    def __enter__(self) -> Callable[[dict[str, Any]], None]:
        self.sinks: dict[str, Sink] = {}
        return self._log

    def __exit__(self, *_: object) -> None:
        for name, sink in list(self.sinks.items()):
            self._guarded(name, sink.close)

    def _log(self, figures: dict[str, Any]) -> None:
        for name, make in list(self.makers.items()):

            def log(name: str = name, make: Callable[[], Sink] = make) -> None:
                if name not in self.sinks:
                    self.sinks[name] = make()
                self.sinks[name].log(figures)

            self._guarded(name, log)

    def _guarded(self, name: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # of a library: a full disk, a lost connection, whatever it raises
            self.makers.pop(name, None)
            self.sinks.pop(name, None)
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            self.say(f"note: {name} gets no more figures: {shortened([reason])}")
