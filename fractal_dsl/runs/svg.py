"""Make the SVG of a run's folder safe to embed in a page: the folder may come from somebody else."""

from __future__ import annotations

import re
from xml.etree import ElementTree

_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_ELEMENTS = frozenset("svg g a title desc path polygon polyline line rect circle ellipse text tspan".split())
_ATTRIBUTES = frozenset(
    "id class d points x y x1 y1 x2 y2 cx cy r rx ry dx dy width height viewBox transform fill fill-opacity stroke "
    "stroke-width stroke-dasharray stroke-opacity stroke-linecap opacity text-anchor font-family font-size font-weight "
    "font-style".split()
)
_DEPTH = 100
_OUTSIDE = re.compile(r"url\s*\(|[\\@]|[a-z]+:", re.IGNORECASE)


def clean_svg(text: str) -> str:
    """Keep only what draws: no script, style, link, event or file. Empty if the text is not SVG."""
    start, end = text.find("<svg"), text.rfind("</svg>")  # drop the document type and its declarations
    if min(start, end) < 0:
        return ""
    try:
        root = ElementTree.fromstring(text[start : end + len("</svg>")])
    except (ElementTree.ParseError, UnicodeEncodeError):
        return ""
    if root.tag != f"{_SVG}svg":
        return ""
    _clean(root)
    ElementTree.register_namespace("", _SVG.strip("{}"))
    ElementTree.register_namespace("xlink", _LINK.strip("{}"))
    return ElementTree.tostring(root, encoding="unicode")


def _clean(root: ElementTree.Element) -> None:
    waiting = [(root, 0)]
    while waiting:
        element, depth = waiting.pop()
        element.attrib = {k: v for k, v in element.attrib.items() if _drawn(k, v)}
        for child in list(element):
            if depth < _DEPTH and child.tag.startswith(_SVG) and child.tag.removeprefix(_SVG) in _ELEMENTS:
                waiting.append((child, depth + 1))
            else:
                element.remove(child)


def _drawn(name: str, value: str) -> bool:
    """Whether an attribute may stay: it is a tooltip, or it draws and refers to nothing outside."""
    return name == f"{_LINK}title" or (name in _ATTRIBUTES and not _OUTSIDE.search(value))
