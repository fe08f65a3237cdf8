"""Errors in settings, and the names to suggest for unknown ones."""

from __future__ import annotations

import json
from collections.abc import Iterable

from fractal_dsl.base.errors import Help, UserError, help_text, suggestion
from fractal_dsl.config.settings import Settings
from fractal_dsl.config.training import TrainConfig

Path = tuple[str | int, ...]
"""The keys that lead to a setting, from the outside in."""
Finding = tuple[Path, str, Help]
"""Where, what is wrong, and help."""


class ConfigError(UserError):
    """Settings are wrong. ``findings`` holds every independent error."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = list(findings)

    def __str__(self) -> str:
        texts = [(message, help_text(help)) for _, message, help in self.findings]
        return "\n".join([message + (f"\n  help: {help}" if help else "") for message, help in texts])

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[Finding]]]:
        """Errors must survive pickling, which passes them between processes."""
        return ConfigError, ([(path, message, help_text(help)) for path, message, help in self.findings],)


def variants(setting: str) -> tuple[type[Settings], ...]:
    """The variants of a setting. Empty for a plain or an unknown one."""
    field = TrainConfig.fields.get(setting)
    return field.variants if field else ()


def names(setting: str) -> list[str]:
    """The names of the variants of a setting."""
    return [name for variant in variants(setting) for name in variant.names()]


def keys(setting: str, name: str) -> list[str]:
    """The settings of a variant."""
    return [key for variant in variants(setting) if name in variant.names() for key in variant.fields if key != "name"]


def choice(what: str, name: object, known: list[str]) -> tuple[str, str]:
    """The message and the help for an unknown name."""
    message = f"unknown {what} `{name}`" if name else f"the {what} needs a name"
    return message, suggestion(str(name or ""), known) or there_are(known)


def inside(key: str, value: object) -> str | None:
    """Where a key stands that is no setting by itself, but one of a variant."""
    key = {"learning_rate": "lr"}.get(key, key)
    for setting in TrainConfig.fields:
        for name in names(setting):
            if key in keys(setting, name):
                return f"write `{setting} = {name}({key}={json.dumps(value, default=str)})`"
    return None


def path_of(key: str) -> str | None:
    """``patience``, ``optimizer.momentum``: a setting as ``--set`` takes it, by its last name."""
    if key in TrainConfig.fields:
        return key
    owners = (s for s in TrainConfig.fields for name in names(s) if key in keys(s, name))
    return next((f"{owner}.{key}" for owner in owners), None)


def there_are(names: list[str]) -> str:
    """The names that are known."""
    if len(names) == 1:
        return f"there is only `{names[0]}`"
    return f"there are {', '.join(f'`{n}`' for n in names)}" if names else "it has no settings"
