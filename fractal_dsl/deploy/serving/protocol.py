"""Bodies of the KServe v2 inference protocol, in JSON and with binary tensors.

https://github.com/kserve/open-inference-protocol has the specification, and its extension for binary tensors: the body
is then JSON of the length in the header ``Inference-Header-Content-Length``, followed by the bytes of the tensors.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from fractal_dsl.base.errors import UserError
from fractal_dsl.data.values import checked_values
from fractal_dsl.deploy.runtimes import Array, Arrays
from fractal_dsl.deploy.serving.batching import Answered, softmax
from fractal_dsl.deploy.serving.stages import Service

NET = "net"
"""The output that says which net answered. No output of a net has this name, which is a keyword of the language."""
HEADER = "Inference-Header-Content-Length"
_PARAMETERS = ("budget_ms", "confidence", "binary_data_output")
_TYPES: Mapping[str, str] = {
    **{f"UINT{8 * n}": f"<u{n}" for n in (1, 2, 4, 8)},
    **{f"INT{8 * n}": f"<i{n}" for n in (1, 2, 4, 8)},
    "FP32": "<f4",
    "FP64": "<f8",
}


@dataclass(frozen=True)
class Request:
    """A parsed request: its inputs [n, …], and how to answer. ``outputs`` tells which wanted tensors are binary."""

    id: str | None
    inputs: Arrays
    budget: float | None
    confidence: float | None
    outputs: Mapping[str, bool]


def parse_request(body: bytes, header: str | None, service: Service, most: int) -> Request:
    """Parse a request of at most ``most`` examples. Raises UserError, which says what is wrong with it."""
    size = _length(header, len(body))
    try:
        data = json.loads(body[:size])
    except (ValueError, RecursionError):
        raise UserError("the body is not JSON") from None
    if not isinstance(data, dict):
        raise UserError("the body is not a JSON object")
    given = cast(dict[str, Any], data)
    inputs = _inputs(given.get("inputs"), body[size:], service, most)
    parameters = _object(given, "parameters")
    if unknown := next((name for name in parameters if name not in _PARAMETERS), None):
        raise UserError(f"there is no parameter {unknown!r}: the parameters are {', '.join(_PARAMETERS)}")
    budget, confidence = _number(parameters, "budget_ms"), _number(parameters, "confidence")
    if budget is not None and confidence is not None:
        raise UserError("give `budget_ms` or `confidence`, not both")
    if confidence is not None and not service.confident:
        raise UserError("this net has no classes, and so no confidence")
    if confidence is not None and confidence > 1:
        raise UserError("`confidence` must be from 0 to 1")
    known = [one["name"] for one in output_types(service)]
    wanted = _outputs(given, parameters, known)
    if unknown := next((name for name in wanted if name not in known), None):
        raise UserError(f"there is no output {unknown!r}: the outputs are {', '.join(known)}")
    id = given.get("id")
    if id is not None and not isinstance(id, str):
        raise UserError("`id` must be a string")
    return Request(id, inputs, budget, confidence, wanted)


def response(request: Request, answered: Answered, service: Service) -> tuple[bytes, dict[str, str]]:
    """The body of an answer, and its headers."""
    tensors: dict[str, Array | list[str]] = {}
    for name, output in zip(service.ends.outputs, answered.outputs, strict=True):
        tensors[name] = output.astype("<f4")
        if classes := service.classes.get(name):
            best, prefix = output.argmax(1), _prefix(name, service)
            tensors[f"{prefix}class"] = best.astype("<i8")
            tensors[f"{prefix}probability"] = softmax(output).max(1).astype("<f4")
            tensors[f"{prefix}name"] = [classes[i] for i in best]
    tensors[NET] = answered.nets
    chosen = {name: tensors[name] for name in request.outputs}
    outputs: list[dict[str, Any]] = []
    tail = b""
    for name, tensor in chosen.items():
        shape = [len(tensor)] if isinstance(tensor, list) else list(tensor.shape)
        kind = "BYTES" if isinstance(tensor, list) else "INT64" if tensor.dtype.kind == "i" else "FP32"
        described: dict[str, Any] = {"name": name, "shape": shape, "datatype": kind}
        if request.outputs[name]:
            raw = _packed(tensor) if isinstance(tensor, list) else tensor.tobytes()
            described["parameters"] = {"binary_data_size": len(raw)}
            tail += raw
        else:
            described["data"] = tensor if isinstance(tensor, list) else tensor.reshape(-1).tolist()
        outputs.append(described)
    head: dict[str, Any] = {"model_name": service.name, "model_version": "1", "outputs": outputs}
    if request.id is not None:
        head["id"] = request.id
    text = json.dumps(head).encode()
    if not any(request.outputs.values()):
        return text, {"content-type": "application/json"}
    return text + tail, {"content-type": "application/octet-stream", HEADER: str(len(text))}


def output_types(service: Service) -> list[dict[str, Any]]:
    """The outputs of a response, as the protocol describes them."""
    types: list[dict[str, Any]] = []
    for name, end in service.ends.outputs.items():
        types.append({"name": name, "datatype": "FP32", "shape": [-1, *end.shape]})
        if name in service.classes:
            named = (("class", "INT64"), ("probability", "FP32"), ("name", "BYTES"))
            types += [{"name": f"{_prefix(name, service)}{n}", "datatype": kind, "shape": [-1]} for n, kind in named]
    return [*types, {"name": NET, "datatype": "BYTES", "shape": [-1]}]


def _prefix(output: str, service: Service) -> str:
    """What tells ``class`` of an output from that of others, if there are several."""
    return f"{output}." if len(service.ends.outputs) > 1 else ""


def _length(header: str | None, size: int) -> int:
    if header is None:
        return size
    if not header.isdecimal() or len(header) > 18 or int(header) > size:
        raise UserError(f"{HEADER} must be a number of bytes within the body")
    return int(header)


def _inputs(given: Any, tail: bytes, service: Service, most: int) -> Arrays:
    """The tensors of a request, in the order of the net. A single input may have any name."""
    names = [*service.ends.inputs]
    if len(names) == 1:
        if not isinstance(given, list) or len(cast(list[Any], given)) != 1 or not isinstance(given[0], dict):
            raise UserError("`inputs` must be a list of one tensor")
        given = [{**given[0], "name": names[0]}]
    every = cast(list[Any], given) if isinstance(given, list) else []
    tensors: list[dict[str, Any]] = every if all(isinstance(one, dict) for one in every) else []
    if sorted(str(one.get("name")) for one in tensors) != sorted(names):
        raise UserError(f"`inputs` must be a list of tensors with the names {', '.join(names)}")
    read: dict[str, Array] = {}
    for one in tensors:
        size = _object(one, "parameters").get("binary_data_size")
        if size is not None and (type(size) is not int or not 0 <= size <= len(tail)):
            raise UserError(f"`binary_data_size` is {size!r}, but {len(tail)} bytes follow")
        raw, tail = (None, tail) if size is None else (tail[:size], tail[size:])
        read[one["name"]] = _tensor(one, raw, service, most)
    if tail:
        raise UserError(f"{len(tail)} bytes follow that belong to no tensor: set `binary_data_size`")
    if len({len(one) for one in read.values()}) > 1:
        counts = " and ".join(f"{len(one)} of `{name}`" for name, one in read.items())
        raise UserError(f"give as many of each input as examples, not {counts}")
    return tuple([read[name] for name in names])


def _tensor(given: Mapping[str, Any], raw: bytes | None, service: Service, most: int) -> Array:
    """The tensor of a request in the net's type; ``raw`` are its bytes. Raises UserError if it has another shape or
    type."""
    shape, kind, name = given.get("shape"), given.get("datatype"), given["name"]
    into = service.ends.inputs[name]
    takes, which, where = "the net takes", "", "the request"
    if len(service.ends.inputs) > 1:
        takes, which, where = f"`{name}` is", f" of `{name}`", f"`{name}`"
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in cast(list[Any], shape)):
        raise UserError("`shape` must be a list of sizes")
    sizes = tuple(cast(list[int], shape))
    if sizes[1:] != into.shape or not 1 <= sizes[0] <= most:
        wanted = f"[n, {', '.join(map(str, into.shape))}]"
        raise UserError(f"{takes} {wanted}, n from 1 to {most}, not {list(sizes)}")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise UserError(f"`datatype` must be one of {', '.join(_TYPES)}")
    try:
        values = _numbers(given.get("data"), _TYPES[kind]) if raw is None else np.frombuffer(raw, _TYPES[kind])
        values = values.reshape(sizes)
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"the data{which} are not {math.prod(sizes)} numbers of type {kind}") from None
    converted = checked_values(values, into, service.vocabularies.get(name), where)
    return converted if into.dtype == "i64" else converted.astype(np.float32)


def _numbers(data: object, kind: str) -> Array:
    """Numbers of a type. Raises ValueError or OverflowError for texts, truth values, and fractions in whole numbers."""
    if np.array(data).dtype.kind not in ("iu" if kind[1] in "iu" else "iuf"):
        raise ValueError
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is refused as such
        return np.array(data, kind)


def _outputs(given: Mapping[str, Any], parameters: Mapping[str, Any], every: Sequence[str]) -> dict[str, bool]:
    """The names of the outputs that are wanted, by default all, and which are binary. An output's own ``binary_data``
    decides before the request's ``binary_data_output``."""
    wanted = given.get("outputs")
    binary = parameters.get("binary_data_output") is True
    if wanted is None or wanted == []:
        return dict.fromkeys(every, binary)
    if not isinstance(wanted, list) or not all(isinstance(o, dict) for o in cast(list[Any], wanted)):
        raise UserError("`outputs` must be a list of objects with names")
    chosen = cast(list[dict[str, Any]], wanted)
    return {str(one.get("name")): _object(one, "parameters").get("binary_data", binary) is True for one in chosen}


def _object(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = given.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"`{name}` must be an object")
    return cast(dict[str, Any], value)


def _number(parameters: Mapping[str, Any], name: str) -> float | None:
    value = parameters.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise UserError(f"`{name}` must be a number of at least 0")
    return float(value)


def _packed(texts: list[str]) -> bytes:
    """Texts, each after its length in 4 bytes."""
    return b"".join(struct.pack("<I", len(raw)) + raw for raw in (text.encode() for text in texts))
