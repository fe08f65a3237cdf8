"""The base of all groups of settings."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Settings(BaseModel):
    """Settings that cannot change, of which none is unknown.

    Validators are built when they are first used: most groups of settings are only part of a larger one.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True
    )


def named(default: str | None) -> BeforeValidator:
    """A text is a name; settings without a name are those of the default variant."""

    def expand(value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if value is None and default == "none":  # as the command line reads `none`
            return {"name": default}
        if isinstance(value, Mapping) and "name" not in value and default:
            return {"name": default, **cast(Mapping[str, Any], value)}
        return cast(object, value)

    return BeforeValidator(expand)
