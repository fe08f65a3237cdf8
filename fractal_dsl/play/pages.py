"""The page as HTML, its files, and what it may load. The same for the server and for the site without a server."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from fractal_dsl.base.escaping import json_in_html
from fractal_dsl.language.source import MAX_SOURCE_BYTES
from fractal_dsl.picture.shown import BoxLabel
from fractal_dsl.play.documents import Documents
from fractal_dsl.play.words import words

_SCRIPTS = (
    *("codemirror.js", "elements.js", "colours.js", "assistance.js", "editor.js", "problems.js"),
    *("documents.js", "compiling.js", "params.js", "picture.js", "panel.js", "figures.js", "sharing.js"),
    *("splitters.js", "keys.js", "start.js"),
)
_JAVASCRIPT = "text/javascript; charset=utf-8"
ASSETS = {
    "page.css": "text/css; charset=utf-8",
    **dict.fromkeys((*_SCRIPTS, "over_http.js", "over_worker.js", "pdf.js"), _JAVASCRIPT),
}
"""The files of the page with their media types."""


def page_config(documents: Documents) -> dict[str, Any]:
    """What the page must know: its documents, the words of the language, limits, and scripts for frames of pictures."""
    return {
        "documents": documents.listed(),
        "params": {},
        "net": None,
        "words": words(),
        "labels": list(BoxLabel),
        "limit": MAX_SOURCE_BYTES,
        "frame": {"style": asset("frame.css"), "script": asset("frame.js"), "policy": _frame_policy()},
    }


def page_html(config: Mapping[str, Any], *transport: str) -> str:
    """The page. The scripts ``transport`` carry its questions."""
    scripts = "\n".join(f'<script src="page/{name}"></script>' for name in (*transport, *_SCRIPTS))
    parts = {"config": json_in_html(config), "scripts": scripts}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], asset("page.html"))


def page_policy() -> str:
    """What the page may load: its own files. A frame inherits this, so the scripts of pictures are allowed, too.

    Nothing in a text is ever taken for markup: the page makes elements, and never HTML from text.
    """
    return (
        f"default-src 'none'; script-src 'self' {_frame_scripts()}; style-src 'self' 'unsafe-inline'; "
        "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _frame_policy() -> str:
    """Only our two scripts may run in the frame of a picture, whatever the picture contains, and nothing is loaded."""
    return f"default-src 'none'; script-src {_frame_scripts()}; style-src 'unsafe-inline'"


@cache
def _frame_scripts() -> str:
    """The hashes of the two scripts in the frame of a picture: the picture's own and the playground's."""
    template = files("fractal_dsl.picture").joinpath("page.html").read_text("utf-8")
    scripts = [*re.findall(r"<script>(.*?)</script>", template, re.DOTALL), asset("frame.js")]
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)


def packed(value: Mapping[str, Any]) -> str:
    """A net as a link to the page holds it behind ``#s=``: ``{"text", "params"?, "net"?}``. See ``sharing.js``."""
    press = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    data = press.compress(json.dumps(value).encode()) + press.flush()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@cache
def asset(name: str) -> str:
    """The text of a file of the page."""
    return files("fractal_dsl.play").joinpath("page", name).read_text("utf-8")
