"""Settings as plain data to checked settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from fractal_dsl.config.errors import ConfigError, finding
from fractal_dsl.config.training import TrainConfig


def parse_config(data: Mapping[str, Any]) -> TrainConfig:
    """Check settings and fill in defaults. Raises ConfigError with every error."""
    try:
        return TrainConfig.model_validate(dict(data))
    except ValidationError as error:
        raise ConfigError([finding(e, data) for e in error.errors()]) from None
