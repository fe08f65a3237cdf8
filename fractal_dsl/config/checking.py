"""Plain data to settings: every value is checked against the schema, and every error is found at once."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeVar, cast, get_args, get_origin

from fractal_dsl.base.errors import suggestion
from fractal_dsl.base.numbers import first_not_finite
from fractal_dsl.config.errors import ConfigError, Finding, Path, choice, inside, keys, names, there_are
from fractal_dsl.config.settings import Setting, Settings
from fractal_dsl.config.training import TrainConfig

_Group = TypeVar("_Group", bound=Settings)
_WANTED: Final = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a string",
    list: "a list",
}
_FINITE: Final = {
    int: "a finite whole number",
    float: "a finite number",
    list: "a list of finite numbers",
}
_LIMITS: Final = {
    "gt": ("above", operator.gt),
    "ge": ("at least", operator.ge),
    "lt": ("below", operator.lt),
    "le": ("at most", operator.le),
}


def parse_config(data: Mapping[str, Any]) -> TrainConfig:
    """Check settings and fill in defaults. Raises ConfigError with every error."""
    findings: list[Finding] = []
    config = _group(TrainConfig, data, (), findings)
    if config is None:
        raise ConfigError(findings)
    return config


def _group(model: type[_Group], data: Mapping[Any, Any], path: Path, findings: list[Finding]) -> _Group | None:
    """The settings of a group. None if there are errors, which are added to ``findings``."""
    before, values = len(findings), dict[str, Any]()
    for name, field in model.fields.items():
        if name in data:
            values[name] = _value(field, data[name], (*path, name), findings)
        elif field.required:
            findings.append(((*path, name), f"`{_dotted(*path, name)}` is missing: `{data['name']}` needs it", None))
    findings += [_unknown(path, key, data) for key in data if key not in model.fields]
    if len(findings) > before:
        return None
    made = model(**values)
    if reason := made.conflict():
        findings.append((path, f"`{_dotted(*path)}`: {reason}" if path else reason, None))
    return None if reason else made


def _value(field: Setting, given: Any, path: Path, findings: list[Finding]) -> Any:
    """The value of a setting. Any value if it is wrong."""
    given = field.expand(given) if field.expand else given
    if (given is None and type(None) in field.types) or isinstance(given, field.variants):
        return given
    if field.variants:
        return _variant(field, given, path, findings)
    value, wanted = _plain(field.types[0], given)
    wanted = wanted or _beyond(field, value)
    if wanted is not None:
        findings.append((path, *_wrong(field.types[0], wanted, given, path)))
    elif isinstance(value, list):
        (kind,) = get_args(field.types[0])
        for i, item in enumerate(items := cast(list[Any], value)):
            items[i], wanted = _plain(kind, item)
            if wanted is not None:
                findings.append(((*path, i), *_wrong(kind, wanted, item, (*path, i))))
    return cast(object, value)


def _variant(field: Setting, given: Any, path: Path, findings: list[Finding]) -> Settings | None:
    if not isinstance(given, Mapping):
        findings.append((path, _must(path, "a name, or a name with settings", given), None))
        return None
    settings = cast(Mapping[str, Any], given)
    name = settings.get("name")
    model = next((model for model in field.variants if name in model.names()), None)
    if model is None:
        what = {"dataset": "data set", "augment": "augmentation"}.get(str(path[-1]), str(path[-1]))
        findings.append((path, *choice(what, name, names(str(path[-1])))))
        return None
    return _group(model, settings, path, findings)


def _plain(kind: Any, given: Any) -> tuple[Any, str | None]:
    """The value as a type has it, and what is wanted instead if it is not of the type."""
    if get_origin(kind) is Literal:
        return given, None if given in get_args(kind) else "a choice"
    if get_origin(kind) is list:
        return (list(cast(list[Any], given)), None) if isinstance(given, list) else (given, _WANTED[list])
    if kind is float and isinstance(given, int | float) and not isinstance(given, bool):
        try:
            value = float(given)
        except OverflowError:
            return given, _FINITE[float]
        return value, None if math.isfinite(value) else _FINITE[float]
    if not isinstance(given, kind) or (kind is int and isinstance(given, bool)):
        return given, _WANTED[kind]
    return given, "UTF-8 text" if kind is str and re.search("[\ud800-\udfff]", str(given)) else None


def _beyond(field: Setting, value: Any) -> str | None:
    """What a value of the right type must be that is beyond a limit."""
    for name, (word, holds) in _LIMITS.items():
        limit = getattr(field, name)
        if limit is not None and not holds(value, limit):
            return f"{word} {f'{limit:,}' if isinstance(limit, int) else f'{limit:,.10g}'}"
    if field.min_length and len(value) < field.min_length:
        return "a non-empty string" if isinstance(value, str) else "a non-empty list"
    if field.choices is not None and not re.fullmatch(field.choices[0], value):
        return field.choices[1]
    return None


def _wrong(kind: Any, wanted: str, given: Any, path: Path) -> tuple[str, str | None]:
    """The message and the help for a value that is not what is ``wanted``."""
    if get_origin(kind) is Literal:
        return choice(_dotted(*path), given, [str(name) for name in get_args(kind)])
    base = get_origin(kind) or kind
    if wanted == _WANTED[base]:
        if kind is int and isinstance(given, str) and given.isdecimal() and len(given) > 18:
            return f"`{_dotted(*path)}` is too large: {given}", None
        if base in _FINITE and (number := first_not_finite(str(given))):
            return f"`{_dotted(*path)}` must be {_FINITE[base]}, found {number}", None
    if wanted == _FINITE.get(base):
        return f"`{_dotted(*path)}` must be {wanted}, found {given}", None
    return _must(path, wanted, given), None


def _must(path: Path, wanted: str, given: Any) -> str:
    return f"`{_dotted(*path)}` must be {wanted}, found {json.dumps(given, default=str)}"


def _unknown(path: Path, key: object, data: Mapping[Any, Any]) -> Finding:
    """The finding about a key that is no setting of its group."""
    name = str(data["name"]) if path else None
    if name and key == "download":
        return (*path, "download"), f"`{name}` needs no download", None
    known = keys(str(path[0]), name) if name else list(TrainConfig.fields)

    def help() -> str:
        variant = None if name else inside(str(key), data[key])
        return variant or suggestion(str(key), known) or there_are(known)

    return (*path, str(key)), f"unknown setting `{key}`" + (f" of `{name}`" if name else ""), help


def _dotted(*path: str | int) -> str:
    return ".".join(map(str, path))
