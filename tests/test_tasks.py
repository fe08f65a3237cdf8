"""Every task: its settings, losses and metrics, and runs that train, resume and are evaluated."""

from __future__ import annotations

from typing import Any

import pytest

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import parse_config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "regression", "loss": "cross_entropy"}, "`loss` of regression is `squared` or `absolute` or `huber`"),
        ({"task": "regresion"}, "did you mean `regression`"),
        ({"loss": "mse"}, "unknown loss `mse`"),
        ({"loss": {"name": "huber", "delta": 0.0}}, "`loss.delta` must be above 0"),
        ({"loss": {"name": "cross_entropy", "class_weights": [1.0, -1.0]}}, "must be 0 or more, found -1"),
    ],
)
def test_wrong_tasks_and_losses_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_config(settings)
    assert message in str(error.value)
