"""DOT text to a picture file, by the ``dot`` program or by the Graphviz in the pygraphviz wheel.

The graphviz package's own ``pipe`` is not used here: it has no time limit, and Graphviz may take hours.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.files import replacing, write_text

PICTURE_FORMATS: Final = ("svg", "png", "pdf", "dot")
_OURS = "<!-- Drawn by fractal_dsl -->"
_DPI, _MIN_DPI = 150.0, 30.0
_MAX_SIDE, _MAX_PIXELS = 30_000, 40_000_000  # cairo cuts pictures off at 32,767 pixels; many pixels take long
_PATIENCE = 30.0
_WHEEL = """\
import sys, pygraphviz
path, format, dpi = sys.argv[1:]
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode("utf-8"))
graph.graph_attr["dpi"] = dpi
graph.draw(path, format=format, prog=graph.graph_attr["layout"] or "dot")
"""


def draw(dot_text: str, path: Path, *, timeout: float = _PATIENCE, style: str = "") -> None:
    """Write a picture. The suffix, one of ``PICTURE_FORMATS``, decides the format. ``style`` is CSS for an SVG.

    The file is written completely or not at all. Raises UserError for another suffix, for a PNG with too many pixels,
    for a place that cannot be written, and if Graphviz is missing, fails, or takes more than ``timeout`` seconds.
    """
    format = path.suffix.lower().removeprefix(".")
    if format not in PICTURE_FORMATS:
        raise UserError(f"cannot draw {path}: the name must end in {', '.join('.' + f for f in PICTURE_FORMATS)}")
    if format == "dot":
        write_text(path, dot_text)
        return
    with replacing(path) as temporary:
        if format == "svg":
            temporary.write_text(svg_text(dot_text, path, timeout=timeout, style=style), encoding="utf-8")
        else:
            _paint(dot_text, temporary, format, path, timeout)


def svg_text(dot_text: str, path: Path, *, timeout: float = _PATIENCE, style: str = "") -> str:
    """A picture as SVG text. Errors name ``path``; ``style`` is CSS. Raises UserError as ``draw`` does."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "graph.svg"
        _paint(dot_text, temporary, "svg", path, timeout)
        before, start, rest = temporary.read_text("utf-8").partition("<g ")
        sheet = f"<style>{style}</style>\n" if style else ""
        return f"{before}{_OURS}\n{sheet}{start}{rest}"


def is_picture_of_ours(path: Path) -> bool:
    """Whether a file is an SVG that ``draw`` has written."""
    try:
        with path.open("rb") as file:
            return _OURS.encode() in file.read(4000)
    except OSError:
        return False


def drawn(dot_text: str) -> str | None:
    """A picture as SVG text, for a report; None if Graphviz is missing or cannot draw it."""
    try:
        return svg_text(dot_text, Path("graph.svg"))
    except UserError:
        return None


def _paint(dot_text: str, temporary: Path, format: str, path: Path, timeout: float) -> None:
    if sys.platform == "emscripten":
        return _paint_in_browser(dot_text, temporary, format, path)
    command = _command(path)
    dpi = _png_dpi(dot_text, path) if format == "png" else 72.0
    _run([*command, *_arguments(command, temporary, format, dpi)], dot_text, path, timeout)
    if not temporary.exists() or temporary.stat().st_size == 0:
        raise UserError(f"cannot draw {path}: Graphviz wrote nothing")


def _paint_in_browser(dot_text: str, temporary: Path, format: str, path: Path) -> None:
    """Paint with the Graphviz of a page that runs Python: the page registers it as a module, and it writes SVG only."""
    graphviz = importlib.import_module("graphviz_of_page")
    if format != "svg":
        raise UserError(f"cannot draw {path}: Graphviz in a browser draws SVG only")
    try:
        temporary.write_text(graphviz.svg(dot_text), encoding="utf-8")
    except Exception as error:  # of JavaScript
        raise UserError(f"cannot draw {path}: Graphviz says: {error}") from None


def _command(path: Path) -> list[str]:
    """The command that runs Graphviz: the program, or Python with the wheel."""
    if dot := shutil.which("dot"):
        return [dot]
    if importlib.util.find_spec("pygraphviz"):
        return [sys.executable, "-P", "-c", _WHEEL]
    raise UserError(
        f"cannot draw {path}: Graphviz is missing. Install it with `apt-get install graphviz` or "
        f"`pip install pygraphviz`, or write {path.with_suffix('.dot')}, which needs neither"
    )


def _arguments(command: list[str], temporary: Path, format: str, dpi: float) -> list[str]:
    if command[0] == sys.executable:
        return [str(temporary), format, f"{dpi:g}"]
    return [f"-T{format}", f"-Gdpi={dpi:g}", f"-o{temporary}"]


def _png_dpi(dot_text: str, path: Path) -> float:
    """The resolution at which a PNG is not too large."""
    box = re.search(r'bb="0,0,([\d.]+),([\d.]+)"', dot_text)
    if box is None:
        return _DPI
    width, height = (float(x) / 72 + 0.4 for x in box.groups())
    dpi = min(_DPI, _MAX_SIDE / max(width, height), (_MAX_PIXELS / (width * height)) ** 0.5)
    if dpi < _MIN_DPI:
        raise UserError(
            f"a PNG of {width:.0f} × {height:.0f} inches would have too many pixels to be readable: "
            f"write {path.with_suffix('.svg')} or {path.with_suffix('.pdf')}"
        )
    return dpi


def _run(command: list[str], dot_text: str, path: Path, timeout: float) -> None:
    """Run a program on the text. Its error output becomes a UserError."""
    try:
        done = subprocess.run(command, input=dot_text.encode(), capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"cannot draw {path}: Graphviz took over {timeout:g} seconds and was stopped. Draw less: `--view block`, "
            "`--depth 1`, or a smaller net of the same shape, for example with `-p columns=4`; or write "
            f"{path.with_suffix('.dot')}"
        ) from None
    except OSError as error:
        raise UserError(f"cannot run {command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise UserError(f"cannot draw {path}: {Path(command[0]).name} says: {lines[-1]}")
