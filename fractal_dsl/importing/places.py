"""Places in Python code, from stack traces and module stacks."""

from __future__ import annotations

import inspect
import linecache
import os
import re
from pathlib import Path
from traceback import FrameSummary
from types import FrameType
from typing import Any

import torch

_TORCH = str(Path(torch.__file__).parent) + os.sep
_PLUMBING = {torch.__file__, str(Path(torch.__file__).with_name("_tensor.py")), __file__}
_SYMBOLS = str(Path(torch.__file__).parent / "fx" / "experimental") + os.sep
_OURS = str(Path(__file__).parents[1]) + os.sep
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in \S+\n\s*(.*)')


def is_user_file(name: str) -> bool:
    """Whether a file is neither torch's nor ours."""
    return not name.startswith((_TORCH, _OURS, "<"))


def is_torch_plumbing(name: str) -> bool:
    """Whether a file of torch only passes a condition on a size on to what decides it."""
    return name in _PLUMBING or name.startswith(_SYMBOLS)


def line_of_frame(frame: FrameType | None) -> str:
    """The innermost line of running code that is neither torch's nor ours, as ``file:line: code``."""
    while frame is not None and not is_user_file(frame.f_code.co_filename):
        frame = frame.f_back
    if frame is None:
        return ""
    name, number = frame.f_code.co_filename, frame.f_lineno
    return f"{name}:{number}: {linecache.getline(name, number).strip()}".rstrip(": ")


def line_text(frame: FrameSummary) -> str:
    """A frame as ``file:line: code``."""
    return f"{frame.filename}:{frame.lineno}: {frame.line or ''}".rstrip(": ")


def line_of(function: Any) -> str:
    """The first line of a function in Python as ``file:line: code``; empty if it has none, or is generated."""
    try:
        lines, number = inspect.getsourcelines(inspect.unwrap(function))
        file = inspect.getsourcefile(function) or "<"
        return f"{file}:{number}: {lines[0].strip()}" if is_user_file(file) else ""
    except (OSError, TypeError):
        return ""


def lines_of_trace(trace: str) -> str:
    """The innermost line of a stack trace that is neither torch's nor ours, as ``file:line: code``."""
    frames = [m for m in _FRAME.finditer(trace) if is_user_file(m[1])]
    return f"{frames[-1][1]}:{frames[-1][2]}: {frames[-1][3]}".rstrip(": ") if frames else ""


def scope_of(entry: tuple[str, Any]) -> tuple[str, str]:
    """The path of a call of a submodule, distinct for each call, and the name of its class."""
    key, (path, cls) = entry
    name = cls if isinstance(cls, str) else cls.__name__
    call = re.search(r"@\d+$", key)
    return path.removeprefix("L['self'].") + (call[0] if call and path and "@" not in path else ""), name.split(".")[-1]
