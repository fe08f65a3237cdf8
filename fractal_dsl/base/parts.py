"""Parts of the folders that the program makes: runs, compiled networks, sweeps.

Such a folder may come from somebody else. No link in it is followed, for it could lead to any file of the user's:
writing replaces a link by a file, and refuses a folder that is a link; reading refuses both, and what is no regular
file, such as a pipe that never ends. The folder itself is the user's choice and may be a link.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.files import beside, remove

MAX_JSON_BYTES = 256 << 20


def part_folder(folder: Path, name: str) -> Path:
    """A folder within ``folder``, made if it is not there; ``""`` is the folder itself.

    Raises UserError if it cannot be made, or a link or a file is in its way.
    """
    place = folder
    try:
        place.mkdir(parents=True, exist_ok=True)
        for step in _steps(name):
            place = place / step
            if place.is_symlink():
                raise UserError(f"cannot write into {place}: it is a link, and links in {folder} are not followed")
            place.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {place}: {error.strerror}") from None
    return place


@contextmanager
def replacing_part(folder: Path, name: str) -> Generator[Path]:
    """A temporary file to write to, which becomes the part of that name when the block ends well.

    Raises UserError where nothing can be written.
    """
    way, _, last = name.rpartition("/")
    with beside(part_folder(folder, way) / last) as temporary:
        yield temporary


def write_part(folder: Path, name: str, text: str) -> None:
    """Write a text in UTF-8, whole or not at all. Raises UserError where nothing can be written."""
    with replacing_part(folder, name) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_new_parts(folder: Path, texts: Mapping[str, str]) -> None:
    """Write texts by their names in a folder that has none of them.

    Raises UserError if one is there already: on a disk that takes ``A`` and ``a`` for one name, they may be one file.
    """
    for name, text in texts.items():
        if os.path.lexists(folder / name):
            raise UserError(f"cannot write {folder / name}: this disk takes another name for the same; rename the file")
        write_part(folder, name, text)


def open_part(folder: Path, name: str) -> BufferedReader:
    """Open a part to read it. Raises OSError if it is missing, outside, behind a link, or no regular file."""
    path, status = folder, None
    for step in _steps(name):
        path = path / step
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            raise OSError(errno.EINVAL, "it is a link, and links in such a folder are not followed", str(path))
    if status is None or not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return path.open("rb")


def is_part(folder: Path, name: str) -> bool:
    """Whether there is a part of that name that ``open_part`` would open."""
    try:
        open_part(folder, name).close()
    except OSError:
        return False
    return True


def read_part(folder: Path, name: str) -> str:
    """The text of a part. Raises OSError as ``open_part`` does, and ValueError if it is no UTF-8."""
    with open_part(folder, name) as file:
        return file.read().decode()


def read_json(folder: Path, name: str) -> Any:
    """The JSON of a part. Raises OSError as ``open_part`` does.

    Raises ValueError if it is no JSON, is over 256 MB, is nested too deeply, or has a key twice in an object.
    """
    with open_part(folder, name) as file:
        data = file.read(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise ValueError(f"it has over {MAX_JSON_BYTES:,} bytes")
    try:
        return json.loads(data, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def remove_parts(folder: Path, names: Iterable[str], folders: Iterable[str] = ()) -> None:
    """Delete parts by name; then of ``folders`` and of those that the parts were in, and of ``folder`` itself, what is
    empty. Whatever else is there stays."""
    emptied = {folder, *(folder / name for name in folders)}
    for name in names:
        *way, last = _steps(name)
        places = [folder.joinpath(*way[: i + 1]) for i in range(len(way))]
        if not any(place.is_symlink() for place in places):
            remove(folder.joinpath(*way, last))
            emptied |= {*places}
    for place in sorted(emptied, key=lambda place: len(place.parts), reverse=True):
        if place.is_dir() and not place.is_symlink() and not any(place.iterdir()):
            place.rmdir()


def _steps(name: str) -> tuple[str, ...]:
    """The names on the way to a part. Raises OSError for a path that leads outside."""
    path = Path(name)
    if path.anchor or ".." in path.parts or "\0" in name:
        raise OSError(errno.EINVAL, "it lies outside of the folder", name)
    return path.parts


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a key twice")
    return found
