"""The stubs of the Python builder: the signatures of layers, joins and training settings, for editors."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from fractal_dsl.config.settings import Settings
from fractal_dsl.config.training import TrainConfig
from fractal_dsl.ops import JOINS, LAYERS, REQUIRED, OpParam, OpSpec

WRITTEN = "# Written by tests/test_builder_stubs.py from the specifications of the language; do not edit.\n"
_KINDS = {
    "int": "int",
    "float": "float",
    "prob": "float",
    "bool": "bool",
    "str": "str",
    "size": "int | Sequence[int]",
    "sides": "int | Sequence[int]",
    "numbers": "int | Sequence[int]",
    "padding": 'int | Sequence[int] | Literal["same", "valid"]',
    "scale": "float | Sequence[float]",
}


def _quoted(values: tuple[str, ...]) -> str:
    return f"Literal[{', '.join(_python(v) for v in values)}]"


def _python(value: object) -> str:
    return '"' + value + '"' if isinstance(value, str) else repr(value)


def _parameter(p: OpParam) -> str:
    kind = _quoted(p.choices) if p.choices else _KINDS[p.kind]
    default = "" if p.default is REQUIRED else " = ..." if p.default is None else f" = {_python(p.default)}"
    return f"{p.name}: {kind}{default}"


def _parameters(params: tuple[OpParam, ...]) -> list[str]:
    named = [i for i, p in enumerate(params) if p.keyword]
    shown = [_parameter(p) for p in params]
    return [*shown[: named[0]], "*", *shown[named[0] :]] if named else shown


def _method(parameters: list[str], result: str) -> str:
    return f"    def __call__({', '.join(['self', *parameters])}) -> {result}: ..."


def _layer(spec: OpSpec) -> list[str]:
    base = "" if any(p.default is REQUIRED for p in spec.params) else "(Block)"
    return [
        f"class _{spec.name}{base}:",
        _method(_parameters(spec.params), "Block"),
        "",
        f"{spec.name}: _{spec.name}",
        "",
    ]


def layers() -> str:
    """``layers.pyi``."""
    lines = [
        WRITTEN,
        "from collections.abc import Iterable, Sequence",
        "from typing import Any, Literal, overload",
        "",
        "from fractal_dsl.builder.values import Block, Join",
        "",
    ]
    for spec in LAYERS.values():
        lines += _layer(spec)
    for name, join in JOINS.items():
        params = [_parameter(p) for p in join.params]
        branches = ["first: Block | Iterable[Block]", "/", "*branches: Block | Iterable[Block]", *params]
        lines += [f"class _{name}(Join):", "    @overload", _method(branches, "Block")]
        lines += ["    @overload", _method(params, "Join"), "", f"{name}: _{name}", ""]
    lines += ["class _Torch:", "    def __getattr__(self, name: str) -> Any: ...", "", "nn: _Torch", ""]
    lines += ["__all__ = [", *[f'    "{name}",' for name in sorted([*LAYERS, *JOINS, "nn"])], "]"]
    return "\n".join(lines) + "\n"


def _variants(annotation: Any) -> Iterator[type[Settings]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for inner in get_args(annotation):
        yield from _variants(inner)


def _type(annotation: Any) -> str:
    """A type in Python; a group of settings is its name or a call."""
    origin = get_origin(annotation)
    if annotation is type(None):
        return ""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return "str | Setting"
    if origin is Literal:
        return _quoted(get_args(annotation))
    if origin is typing.Annotated:
        return _type(get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        parts = " | ".join(filter(None, map(_type, get_args(annotation)))).split(" | ")
        return " | ".join(dict.fromkeys(parts))
    if origin in (list, tuple):
        return f"Sequence[{_type(get_args(annotation)[0])}]"
    if origin is dict:
        return "Setting"
    return annotation.__name__


def _field(name: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    plain = isinstance(default, int | float | str) and default is not PydanticUndefined
    shown = "" if default is PydanticUndefined else f" = {_python(default)}" if plain else " = ..."
    return f"{name}: {_type(field.annotation)}{shown}"


def settings() -> str:
    """``settings.pyi``."""
    lines = [
        WRITTEN,
        "from collections.abc import Sequence",
        "from typing import Literal",
        "",
        "from fractal_dsl.builder.declaration import Holder",
        "from fractal_dsl.builder.lift import Term",
        "",
        "class Setting(Term): ...",
        "",
        "class Train(Holder): ...",
        "",
    ]
    fields = TrainConfig.model_fields
    lines += ["def train(", "    *,", *[f"    {_field(name, f)}," for name, f in fields.items()], ") -> Train: ..."]
    seen: set[str] = set()
    for field in fields.values():
        for variant in _variants(field.annotation):
            for name in get_args(variant.model_fields["name"].annotation) if "name" in variant.model_fields else ():
                if name not in seen:
                    inner = {k: f for k, f in variant.model_fields.items() if k != "name"}
                    shown = ["*", *[_field(k, f) for k, f in inner.items()]] if inner else []
                    lines.append(f"def {name}({', '.join(shown)}) -> Setting: ...")
                    seen.add(name)
    lines.append("def by_output(**outputs: float | str | Setting) -> Setting: ...")
    return "\n".join(lines) + "\n"
