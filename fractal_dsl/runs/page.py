"""A web page that needs no other file: the frame and the style that all pages of results share."""

from __future__ import annotations

from collections.abc import Iterable

from fractal_dsl.base.escaping import markup

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: {width};
  margin: 2rem auto; padding: 0 1rem }}
h1 {{ font-size: 1.7rem; margin-bottom: 0 }} h2 {{ font-size: 1.2rem; margin-top: 2.2rem }} h3 {{ font-size: 1rem }}
table {{ border-collapse: collapse }}
th, td {{ padding: .25rem 1rem .25rem 0; text-align: left; border-bottom: 1px solid #ddd;
  font-variant-numeric: tabular-nums }}
td.n, th.n {{ text-align: right }}
figure {{ margin: 1rem 0; overflow-x: auto }} figure svg {{ max-width: 100%; height: auto }}
figcaption, .note {{ color: #555 }}
{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def page(title: str, parts: Iterable[str], width: str, style: str = "") -> str:
    """The HTML of a page. ``title`` is text; ``parts`` are HTML, without the empty ones; ``style`` is more CSS.

    ``width`` is the largest width of the text, as in CSS: ``"64rem"``.
    """
    return _PAGE.format(title=markup(title), body="\n".join(part for part in parts if part), width=width, style=style)
