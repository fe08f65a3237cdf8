"""The configuration of the documentation site: ``make site`` builds it into build/site."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from generate import generate, relinked  # noqa: E402
from latex2mathml.converter import convert  # noqa: E402

from fractal_dsl import __version__  # noqa: E402
from fractal_dsl.play.pages import packed  # noqa: E402

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
html_static_path, html_css_files = ["static"], ["playground.css"]
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


class Playground(Directive):
    """``{playground} net.frac``: the playground without a server, with a file that the page shows.

    Its content is for readers of the Markdown, and is left out.
    """

    required_arguments, has_content = 1, True

    def run(self) -> list[nodes.Node]:
        name, page = re.escape(self.arguments[0]), Path(self.state.document["source"]).read_text("utf-8")
        shown = re.search(rf"^```frac file {name}\n(.*?)^```$", page, re.M | re.S)
        if shown is None:
            raise self.error(f"the page shows no file {self.arguments[0]}")
        link = f"play/index.html#s={packed({'text': shown[1]})}"
        frame = f'<iframe class="playground" title="The playground" loading="lazy" src="{link}"></iframe>'
        alone = f'<p><a href="{link}">Open the playground in a page of its own.</a></p>'
        return [nodes.raw("", frame + alone, format="html")]


def setup(app: Any) -> None:
    """Write the generated pages before Sphinx reads the sources. Browsers draw MathML without a library, so offline."""
    app.add_html_math_renderer(
        "mathml", inline_renderers=(_math("inline"), None), block_renderers=(_math("block"), None)
    )
    app.add_directive("playground", Playground)
    app.connect("builder-inited", lambda _: generate(HERE / "generated"))
    app.connect("source-read", _relink)
