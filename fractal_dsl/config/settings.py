"""What groups of settings are made of. Defining one runs no code for its types: `check` defines twenty groups."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from copy import copy
from functools import cached_property
from typing import Any, ClassVar, Final, Literal, Self, cast, dataclass_transform, get_args

_REQUIRED: Final = object()


class Setting:
    """A setting: its default, its limits, and what it is. ``expand`` turns a short form into the full one."""

    annotation: str
    module: str

    def __init__(
        self,
        default: Any = _REQUIRED,
        *,
        description: str = "",
        gt: float | None = None,
        ge: float | None = None,
        lt: float | None = None,
        le: float | None = None,
        min_length: int = 0,
        choices: tuple[str, str] | None = None,
        expand: Callable[[Any], Any] | None = None,
    ) -> None:
        self.default, self.description = default, description
        self.gt, self.ge, self.lt, self.le = gt, ge, lt, le
        self.min_length, self.choices, self.expand = min_length, choices, expand

    @property
    def required(self) -> bool:
        """Whether it must be given: it has no default."""
        return self.default is _REQUIRED

    @cached_property
    def types(self) -> tuple[Any, ...]:
        """The types that a value may have: ``(int, NoneType)`` for ``int | None``."""
        kind = eval(self.annotation, vars(sys.modules[self.module]))
        alternatives = () if isinstance(kind, type) or _is_literal(kind) else get_args(kind)
        return alternatives if type(None) in alternatives or len(alternatives) > 1 else (kind,)

    @property
    def variants(self) -> tuple[type[Settings], ...]:
        """The groups of settings that a value may be. Empty for a plain setting."""
        return tuple(kind for kind in self.types if isinstance(kind, type) and issubclass(kind, Settings))


def _is_literal(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is Literal


def Field(
    default: Any = _REQUIRED,
    *,
    description: str = "",
    gt: float | None = None,
    ge: float | None = None,
    lt: float | None = None,
    le: float | None = None,
    min_length: int = 0,
    choices: tuple[str, str] | None = None,
    expand: Callable[[Any], Any] | None = None,
) -> Any:
    """The ``Setting`` of a name in a group, for type checkers a value of any type.

    ``choices`` is a regular expression for a text, and how a message describes the texts that it matches.
    """
    return Setting(**locals())


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
class Settings:
    """A group of settings, which cannot change. ``parse_config`` checks their values."""

    fields: ClassVar[Mapping[str, Setting]] = {}

    def __init_subclass__(cls) -> None:
        fields = dict(cls.fields)
        for name, annotation in cls.__annotations__.items():
            given = vars(cls).get(name, _REQUIRED)
            field = given if isinstance(given, Setting) else Setting(given)
            field.annotation, field.module = cast(str, annotation), cls.__module__
            fields[name] = field
            if name in vars(cls):
                delattr(cls, name)
        cls.fields = fields

    def __init__(self, **given: Any) -> None:
        if unknown := given.keys() - self.fields.keys():
            raise TypeError(f"{type(self).__name__} has no setting {min(unknown)!r}")
        for name, field in self.fields.items():
            if name not in given and field.required:
                raise TypeError(f"{type(self).__name__} needs the setting {name!r}")
            value = given.get(name, field.default)
            vars(self)[name] = copy(cast(object, value)) if isinstance(value, list) else value

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of a variant: ``("cifar10", "cifar100")``. Empty for a group that is not a variant."""
        return get_args(cls.fields["name"].types[0]) if "name" in cls.fields else ()

    def conflict(self) -> str | None:
        """What is wrong with the settings together, each of which is right by itself; None if nothing is."""
        return None

    def replace(self, **changes: Any) -> Self:
        """A copy with other values."""
        return type(self)(**vars(self) | changes)

    def data(self) -> dict[str, Any]:
        """The settings as plain data, which ``parse_config`` reads."""
        return {
            name: value.data() if isinstance(value, Settings) else copy(value) for name, value in vars(self).items()
        }

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings cannot change: make a copy with replace({name}=…)")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # pyright: ignore[reportAssignmentType]  # some settings are lists

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join([f'{name}={value!r}' for name, value in vars(self).items()])})"
