"""Parts: the files in the folders that fractal_dsl writes, which are runs, compiled networks and sweeps.

Such a folder may come from somebody else, and a link in it could lead to any of the user's files. So no link is
followed. Writing replaces a link to a file and refuses a link to a folder. Reading refuses both, and anything else that
is not a regular file, such as a pipe that never ends. The folder itself is the user's choice and may be a link.
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
MAX_DIGITS = 4000  # Python's own limit may be turned off


def part_folder(folder: Path, name: str) -> Path:
    """A folder within ``folder``, created if needed; ``""`` is the folder itself.

    Raises UserError if it cannot be created, or a link or a file is in the way.
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
        raise UserError(f"cannot create the folder {place}: {error.strerror}") from None
    return place


@contextmanager
def replacing_part(folder: Path, name: str) -> Generator[Path]:
    """A temporary file, which becomes the part of that name when the block ends without an error.

    Raises UserError if it cannot be written.
    """
    way, _, last = name.rpartition("/")
    with beside(part_folder(folder, way) / last) as temporary:
        yield temporary


def write_part(folder: Path, name: str, text: str) -> None:
    """Write a text in UTF-8, atomically. Raises UserError if it cannot be written."""
    with replacing_part(folder, name) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_new_parts(folder: Path, texts: Mapping[str, str]) -> None:
    """Write texts by name into a folder that has none of them.

    Raises UserError if one exists already: on a case-insensitive disk, ``A`` and ``a`` are the same file.
    """
    for name, text in texts.items():
        if os.path.lexists(folder / name):
            raise UserError(f"cannot write {folder / name}: this disk gives another file the same name: rename one")
        write_part(folder, name, text)


def open_part(folder: Path, name: str) -> BufferedReader:
    """Open a part for reading. Raises OSError if it is missing, outside, behind a link, or not a regular file."""
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
    """Whether ``open_part`` can open a part of that name."""
    try:
        open_part(folder, name).close()
    except OSError:
        return False
    return True


def read_part(folder: Path, name: str) -> str:
    """The text of a part. Raises OSError as ``open_part`` does, and ValueError if it is not UTF-8."""
    with open_part(folder, name) as file:
        return file.read().decode()


def read_json(folder: Path, name: str) -> Any:
    """The JSON of a part. Raises OSError as ``open_part`` does.

    Raises ValueError if it is not JSON, is over 256 MB, is nested too deeply, or has a key twice in an object.
    """
    with open_part(folder, name) as file:
        data = file.read(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise ValueError(f"it has over {MAX_JSON_BYTES:,} bytes")
    try:
        return json.loads(data, object_pairs_hook=_unique, parse_int=_whole_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _whole_number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"it has a number of over {MAX_DIGITS:,} digits")
    return int(digits)


def remove_parts(folder: Path, names: Iterable[str], folders: Iterable[str] = ()) -> None:
    """Delete parts by name. Then remove those of ``folders``, the parts' own folders and ``folder`` itself that are
    empty. Everything else stays."""
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
    """The components of a part's path. Raises OSError for a path that leads outside."""
    path = Path(name)
    if path.anchor or ".." in path.parts or "\0" in name:
        raise OSError(errno.EINVAL, "it lies outside of the folder", name)
    return path.parts


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise ValueError("an object has a key twice")
    return unique
