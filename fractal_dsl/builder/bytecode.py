"""What Python does with the list that it iterates over, read from its instructions."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from types import FrameType
from typing import Any, cast


def _from(frame: FrameType) -> Iterator[dis.Instruction]:
    """The instruction that a frame executes, and those after it."""
    return (i for i in dis.get_instructions(frame.f_code) if i.offset >= frame.f_lasti)


def begins_loop(frame: FrameType) -> bool:
    """Whether a frame asks for an iterator for a loop or a comprehension, not for a function such as ``zip``."""
    return next(_from(frame)).opname == "GET_ITER"


def collects(frame: FrameType) -> bool:
    """Whether a frame runs a comprehension or a generator, not a loop of statements."""
    first, *rest = _from(frame)
    if first.opname != "FOR_ITER":
        return False
    body = [i.opname for i in rest if i.offset < first.argval]
    return "LIST_APPEND" in body or "YIELD_VALUE" in body


def ignores(frame: FrameType, names: list[str]) -> bool:
    """Whether a list comprehension that a frame runs mentions none of its variables."""
    first, *rest = _from(frame)
    body = [i for i in rest if i.offset < first.argval]
    loaded: list[Any] = [i.argval for i in body if "LOAD_" in i.opname]
    used = {name for value in loaded for name in (cast(tuple[Any, ...], value) if type(value) is tuple else (value,))}
    return any(i.opname == "LIST_APPEND" for i in body) and not used & {*names}


def targets(frame: FrameType) -> tuple[int, list[str]]:
    """How many variables a loop unpacks an element into (0: it does not), and their names as far as they are known."""
    count, names = 0, list[str]()
    instructions = _from(frame)
    next(instructions)
    for i in instructions:
        if i.opname == "UNPACK_SEQUENCE" and not count:
            count = i.arg or 0
        elif i.opname.startswith("STORE_FAST_STORE"):
            names += i.argval
        elif i.opname.startswith("STORE_FAST_"):
            names.append(i.argval[0])
        elif i.opname.startswith("STORE_"):
            names.append(str(i.argval))
        elif i.opname != "EXTENDED_ARG":
            break
        if len(names) >= max(1, count):
            break
    return count, names[: max(1, count)]
