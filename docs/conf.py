"""The configuration of the documentation site: ``make site`` builds it into build/site."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from docutils import nodes

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from generate import generate, relinked  # noqa: E402
from latex2mathml.converter import convert  # noqa: E402

from fractal_dsl import __version__  # noqa: E402

project, author, release = "fractal_dsl", "The fractal_dsl authors", __version__
copyright = author
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["gallery/make.py"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
suppress_warnings = ["myst.xref_ambiguous"]
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"fractal_dsl {release}"
html_show_sourcelink = html_show_copyright = False
copybutton_prompt_text, copybutton_only_copy_prompt_lines = "$ ", True
html_theme_options = {"footer_icons": [], "navigation_with_keys": True}


def _math(display: str) -> Any:
    def visit(writer: Any, node: Any) -> None:
        writer.body.append(convert(node.astext(), display=display))
        raise nodes.SkipNode

    return visit


def _relink(app: Any, page: str, source: list[str]) -> None:
    """Lead links to files of the repository that the site has as pages to these pages."""
    folder = (HERE / page).parent
    source[0] = relinked(source[0], folder, folder)


def setup(app: Any) -> None:
    """Write the generated pages before Sphinx reads the sources. Browsers draw MathML without a library, so offline."""
    app.add_html_math_renderer(
        "mathml", inline_renderers=(_math("inline"), None), block_renderers=(_math("block"), None)
    )
    app.connect("builder-inited", lambda _: generate(HERE / "generated"))
    app.connect("source-read", _relink)
