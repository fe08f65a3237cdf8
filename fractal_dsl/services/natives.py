"""Texts about all that is built in: layers, joins, functions, options of nets, annotations, types, and settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from msgspec import Struct

from fractal_dsl.config import TrainConfig
from fractal_dsl.config.errors import variants
from fractal_dsl.config.settings import Settings
from fractal_dsl.ops import JOINS, LAYERS, REQUIRED
from fractal_dsl.program.syntax_to_program.op_arguments import signature
from fractal_dsl.program.syntax_to_program.values import show
from fractal_dsl.services.layer_docs import layer_doc
from fractal_dsl.services.symbols import Native


class Entry(Struct, frozen=True):
    """Something built in: what to write, its parameters, and its meaning."""

    text: str
    params: tuple[str, ...]
    doc: str


FUNCTION_DOCS = {
    "seq": Entry("seq(a, b, …)", ("a", "b"), "The blocks of a list or of a loop, composed from left to right."),
    "zip": Entry("zip(a, b, …)", ("a", "b"), "The elements of several lists side by side, for loops."),
    "range": Entry("range(start, stop, step)", ("start", "stop", "step"), "Whole numbers; the end is excluded."),
    "len": Entry("len(list)", ("list",), "The number of elements of a list."),
    "enumerate": Entry("enumerate(list)", ("list",), "The elements of a list with their numbers from 0, for loops."),
    "reversed": Entry("reversed(list)", ("list",), "The elements of a list from last to first."),
    "split": Entry(
        "split([16, 48], dim=1)", ("sizes", "dim"), "A list of blocks: each takes a part of an axis, of these sizes."
    ),
    "unembed": Entry(
        "unembed(tokens)", ("embedding",), "A score for each token, by the weights of `shared tokens = embedding(…)`."
    ),
}
OPTIONS = {
    "drop_path": Entry(
        "drop_path(local=15%, global=50%)",
        ("local", "global", "columns"),
        "Drop-path regularisation (section 3.1 of the paper): `local` drops operands of joins, `global` is the share "
        "of mini-batches that train one column alone, and `columns=all` trains every column on each mini-batch. "
        "`columns=[1, 1, 2]` are weights of the columns in global steps.",
    ),
    "init": Entry(
        'init("xavier")',
        ("name", "fan"),
        'How weights are initialised. `fan` is what divides the variance: "in", "out" or "average" connections.',
    ),
}
ANNOTATIONS = {
    "tag": Entry('@tag("name")', ("name",), "Names a part in diagrams, reports and the setting `freeze`."),
    "checkpoint": Entry("@checkpoint", (), "Recomputes the part in the backward pass, which saves memory."),
    "drop": Entry("@drop(10%)", ("p",), "Leaves a branch of an inline join out of a training step with probability p."),
}
TYPE_DOCS = {
    "int": "Whole numbers.",
    "float": "Numbers; an int converts to a float where one is expected.",
    "prob": "A number between 0 and 1: `15%`, `0.15`.",
    "bool": "`true` or `false`.",
    "str": "Strings.",
    "block": "Anything that maps a tensor to a tensor: a layer, a composition, a rule at a level.",
    "join": "Anything that merges tensors: `mean`, `concat(dim=2)`, a join of the file.",
    "f32": "A tensor of floating-point numbers, without the batch axis: `f32[3, 32, 32]`.",
    "i64": "A tensor of whole numbers, without the batch axis: `i64[256]`.",
}


def entry(native: Native) -> Entry | None:
    """The text about something built in. None for an unknown setting."""
    match native.kind:
        case "layer":
            spec = LAYERS[native.name]
            params = signature(spec.params)
            text = f"{spec.name}({params})" if params else spec.name
            return Entry(text, tuple(q.name for q in spec.params), layer_doc(spec.name))
        case "join":
            join = JOINS[native.name]
            params = signature(join.params)
            text = f"{join.name}({params})" if params else join.name
            return Entry(text, tuple(q.name for q in join.params), join.doc)
        case "function":
            return FUNCTION_DOCS[native.name]
        case "option":
            return OPTIONS.get(native.name)
        case "annotation":
            return ANNOTATIONS.get(native.name)
        case "parameter":
            return _parameter(native.owner, native.name)
        case "variant":
            return variant_entry(native.owner, native.name)
        case "setting":
            return _setting(native)


def _parameter(owner: str, name: str) -> Entry | None:
    spec = LAYERS.get(owner) or JOINS.get(owner)
    param = next((q for q in spec.params if q.name == name), None) if spec else None
    if param is None:
        return None
    text = name if param.default is REQUIRED else f"{name} = {'…' if param.default is None else show(param.default)}"
    choices = f", one of {', '.join(map(show, param.choices))}" if param.choices else ""
    low = f", at least {param.low:g}" if param.low is not None else ""
    return Entry(text, (), f"A parameter of `{owner}`: {_KINDS[param.kind]}{choices}{low}.")


_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "prob": "a probability",
    "bool": "true or false",
    "str": "a string",
    "size": "a whole number, or one for each axis",
    "sides": "a whole number, or two for each axis",
    "numbers": "a whole number, or several",
    "padding": 'a whole number, one for each axis, `"same"` or `"valid"`',
    "scale": "a number above 0, or one for each axis",
}


def models(setting: str) -> Iterator[tuple[str, type[Settings]]]:
    """The variants of a setting by name, such as `sgd` of `optimizer`."""
    for model in variants(setting):
        for name in get_args(model.model_fields["name"].annotation):
            yield name, model


def variant_entry(setting: str, name: str) -> Entry | None:
    """A variant of a setting, with its own settings. None if no variant has the name."""
    model = dict(models(setting)).get(name)
    if model is None:
        return None
    fields = {key: field for key, field in model.model_fields.items() if key != "name"}
    inside = ", ".join(_assigned(key, field) for key, field in fields.items())
    return Entry(f"{name}({inside})" if inside else f'"{name}"', tuple(fields), (model.__doc__ or "").strip())


def _setting(native: Native) -> Entry | None:
    """A setting of the train block, or one of a variant, whose name is the owner."""
    if not native.owner:
        field = TrainConfig.model_fields.get(native.name)
        return None if field is None else Entry(_assigned(native.name, field), (), _sentence(field.description))
    for setting in TrainConfig.model_fields:
        model = dict(models(setting)).get(native.owner)
        if model is not None and native.name in model.model_fields:
            field = model.model_fields[native.name]
            return Entry(_assigned(native.name, field), (), _sentence(field.description))
    return None


def _assigned(name: str, field: Any) -> str:
    """A setting with its default."""
    default = field.default
    if field.is_required():
        return name
    if default is None or default in ([], {}):
        return f"{name}=…"
    return f"{name}={getattr(default, 'name', None) or show(default)}"


def _sentence(text: str | None) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""
