"""A picture as a single-file web page that works offline: pan, zoom, fold, search, plans."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from fractal_dsl.base.escaping import json_in_html, markup
from fractal_dsl.base.files import write_text
from fractal_dsl.picture.dot_to_picture import svg_text


def write_picture_page(dot_text: str, data: Mapping[str, Any] | None, title: str, style: str, path: Path) -> None:
    """Write the page. ``data`` comes from ``graph_to_page``; without it, readers can only zoom and search.

    ``style`` is CSS that makes the picture follow the reader's theme. Raises UserError as ``draw`` does.
    """
    svg = svg_text(dot_text, path)
    parts = {
        "title": markup(title),
        "style": style,
        "svg": svg[svg.index("<svg") :],
        "data": json_in_html(data or {"tree": None, "edges": [], "plans": [], "boxes": {}, "places": []}),
    }
    template = files("fractal_dsl.picture").joinpath("page.html").read_text("utf-8")
    write_text(path, re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template))
