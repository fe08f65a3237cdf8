"""The command new: a folder with a net that trains, its data and what to do next."""

from __future__ import annotations

import enum
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import command, one_line
from fractal_dsl.base.files import replacing_folder
from fractal_dsl.cli.say import say

_TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
_IGNORED = "/runs/\n/sweeps/\n/mlflow.db\n/net/\n/net.svg\n"
_README = """\
# {title}

A fractal network: [`net.frac`](net.frac) defines the net and its training. {data}

```
fractal-dsl check net.frac  # list all errors, with fixes
fractal-dsl render net.frac  # net.svg: the picture
fractal-dsl play net.frac  # the editor with the live picture
fractal-dsl train net.frac  # runs/{template}-1: weights, curves, report.html
fractal-dsl eval runs/{template}-1  # accuracy or other scores on unseen examples
```

Training needs `{extra}`. `fractal-dsl info net.frac -p columns=5` shows what another parameter
costs; `train` takes `-p`, too.
"""


class Project(enum.StrEnum):
    """What a project starts with."""

    digits = "digits"
    images = "images"
    table = "table"
    text = "text"
    segmentation = "segmentation"


_DATA = {
    Project.digits: "Its data set comes with fractal_dsl.",
    Project.images: "`images/CLASS/*.png` are samples: put your own images there, and their classes in the net.",
    Project.table: "`data.csv` is a sample: put your own table there, and name its target in the net.",
    Project.text: "`text.txt` is a sample: put your own text there.",
    Project.segmentation: "`shapes/images` and `shapes/masks` are samples: put your own there. A pixel of a mask is "
    "the number of its class.",
}
_EXTRA = "pip install 'fractal_dsl[train]'"
"""What training needs: matplotlib, and Pillow for image files."""


def new(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Folder to create, or an empty folder, such as `.`.", show_default=False),
    ],
    template: Annotated[
        Project | None,
        typer.Option(help="Template to start with; by default the one named NAME, or else digits."),
    ] = None,
) -> None:
    """Create a folder with a net, sample data that it trains on, and the commands to run next."""
    if not name.strip():
        raise UserError("a project needs a name, such as `fractal-dsl new digits`")
    place = Path(name)
    title = place.resolve().name or "project"
    if template is None:
        template = Project(title) if title in list(Project) else Project.digits
    with _new_folder(place) as folder:
        _fill(folder, template, one_line(title))
    here = place.samefile(".")
    say(f"{one_line(title if here else str(place))}: a project from the template {template.value}. Next:\n")
    if not here:
        say(f"    {command('cd', str(place))}")
    install = [_EXTRA] if any(find_spec(module) is None for module in ("matplotlib", "PIL")) else []
    for line in (
        "fractal-dsl check net.frac",
        "fractal-dsl render net.frac",
        *install,
        "fractal-dsl train net.frac",
        "fractal-dsl play net.frac",
    ):
        say(f"    {line}")


@contextmanager
def _new_folder(place: Path) -> Generator[Path]:
    """A folder to fill, which then stands at ``place``. Raises UserError if something is there that is not an empty
    folder."""
    if not os.path.lexists(place):
        with replacing_folder(place) as folder:
            yield folder
        return
    try:
        if not place.is_dir() or any(place.iterdir()):
            raise UserError(f"{place} exists{' and is not empty' * place.is_dir()}: choose another name")
        with tempfile.TemporaryDirectory(dir=place) as folder:
            yield Path(folder)
            for part in Path(folder).iterdir():
                part.rename(place / part.name)
    except OSError as error:
        raise UserError(f"cannot write {place}: {error.strerror}") from None


def _fill(folder: Path, template: Project, name: str) -> None:
    """Write the files of a project."""
    from fractal_dsl.cli import samples

    shutil.copy(_TEMPLATES / f"{template.value}.frac", folder / "net.frac")
    readme = _README.format(title=name, data=_DATA[template], template=template.value, extra=_EXTRA)
    (folder / "README.md").write_text(readme, encoding="utf-8")
    (folder / ".gitignore").write_text(_IGNORED, encoding="utf-8")
    match template:
        case Project.images:
            samples.images(folder / "images")
        case Project.segmentation:
            samples.masks(folder / "shapes")
        case Project.table:
            samples.sample_table(folder / "data.csv")
        case Project.text:
            samples.text(folder / "text.txt")
        case Project.digits:
            pass
