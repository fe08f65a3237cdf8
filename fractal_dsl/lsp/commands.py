"""What code lenses do: draw a net beside its file, and open it in the playground. Each runs the command line."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from pygls import uris

from fractal_dsl.base.errors import UserError


def file_of(uri: str) -> Path:
    """The path of a saved file. Raises UserError for a text that is not saved."""
    path = uris.to_fs_path(uri) if uri.startswith("file:") else None
    if path is None or not Path(path).is_file():
        raise UserError("save the text as a .frac file first")
    return Path(path)


async def render(file: Path, net: str) -> Path:
    """Draw a net and return the picture's path. Raises UserError with what the command prints if it fails."""
    process = await _started("render", str(file), "--net", net)
    out, error = await process.communicate()
    if process.returncode:
        raise UserError((error or out).decode().strip())
    return Path(out.decode().splitlines()[0])


async def play(file: Path, net: str) -> tuple[Process, str]:
    """Start the playground on a net; its process and its address. Raises UserError if it does not start."""
    process = await _started("play", str(file), "--net", net, "--no-browser")
    assert process.stdout is not None
    address = (await process.stdout.readline()).decode().strip()
    if not address.startswith("http"):
        _, error = await process.communicate()
        raise UserError(error.decode().strip() or "the playground did not start")
    return process, address


async def _started(*words: str) -> Process:
    command = [sys.executable, "-m", "fractal_dsl", *words]
    return await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=PIPE)
