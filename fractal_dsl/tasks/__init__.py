"""Tasks of nets: the loss of a task, the figure shown in training, and the metrics of evaluation.

In: outputs and targets, and for ``infer`` the net's output, its targets and settings. Out: losses and figures.
Not imported here: ``data`` and above."""

from fractal_dsl.tasks.infer import infer
from fractal_dsl.tasks.task import Meter, Task

__all__ = ["Meter", "Task", "infer"]
