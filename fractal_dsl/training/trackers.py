"""Writes a run's figures for Weights & Biases and for MLflow."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.parts import is_part, part_folder, read_part, write_part
from fractal_dsl.runs.parts import TRACKED
from fractal_dsl.training.tensorboard import flat

Log = Callable[[dict[str, Any]], None]
_OFFLINE = ("offline", "disabled", "dryrun")


def require_wandb() -> None:
    """Raise UserError if wandb is not installed, or has no account to log to. Called before any work is done."""
    if find_spec("wandb") is None:
        raise UserError("logs for Weights & Biases need a package: pip install 'fractal_dsl[wandb]'")
    import wandb

    if os.environ.get("WANDB_MODE") not in _OFFLINE and not wandb.login(prompt=False):
        raise UserError("Weights & Biases has no login: run `wandb login`, or set WANDB_MODE=offline")


def require_mlflow() -> None:
    """Raise UserError if MLflow is not installed. Called before any work is done."""
    if find_spec("mlflow") is None:
        raise UserError("logs for MLflow need a package: pip install 'fractal_dsl[mlflow]'")


class WandbRun:
    """A run of Weights & Biases in a project. ``run`` is the run's folder, whose subfolder ``wandb`` has its files. A
    resumed run goes on with it."""

    def __init__(self, run: Path, project: str, settings: Mapping[str, object]) -> None:
        import wandb

        part_folder(run, "wandb")
        self.run: Any = wandb.init(
            project=project,
            name=run.resolve().name,
            id=_identity(run, "wandb", lambda: uuid4().hex[:12]),
            resume="allow",
            dir=str(run),
            config=dict(settings),
            settings=wandb.Settings(silent=True),
        )

    def log(self, figures: dict[str, Any]) -> None:
        """Log the figures of an epoch."""
        self.run.log(dict(flat("", figures)), step=figures["epoch"])

    def close(self) -> None:
        """End the run."""
        self.run.finish()


class MlflowRun:
    """A run of MLflow in an experiment, on the server or in the file that MLFLOW_TRACKING_URI names. A resumed run goes
    on with it."""

    def __init__(self, run: Path, experiment: str, settings: Mapping[str, object]) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        from mlflow.tracking import MlflowClient

        self.client: Any = MlflowClient()

        def begin() -> str:
            known = self.client.get_experiment_by_name(experiment)
            place = known.experiment_id if known else self.client.create_experiment(experiment)
            return cast(str, self.client.create_run(place, run_name=run.resolve().name).info.run_id)

        self.id = _identity(run, "mlflow", begin)
        for key, value in settings.items():
            self.client.log_param(self.id, key, str(value)[:500])

    def log(self, figures: dict[str, Any]) -> None:
        """Log the figures of an epoch."""
        for name, value in flat("", figures):
            self.client.log_metric(self.id, name, value, step=figures["epoch"])

    def close(self) -> None:
        """End the run."""
        self.client.set_terminated(self.id)


def _identity(run: Path, kind: str, make: Callable[[], str]) -> str:
    """The id of the run at a tracker: that of its first session, or a new one."""
    name = f"{TRACKED}.{kind}"
    if is_part(run, name):
        return read_part(run, name).strip()
    made = make()
    write_part(run, name, made + "\n")
    return made
