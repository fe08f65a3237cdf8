"""Text of others stays text in every language that it is written into."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from xml.etree import ElementTree

import graphviz
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fractal_dsl.base.escaping import command, docstring, escaped_for_dot, json_in_html, markup, one_line, terminal
from tests.support.effort import examples

SNIPPETS = (
    '"""',
    "'''",
    '"',
    "'",
    "\\",
    "\\N",
    "\\u",
    "\\l",
    "\n",
    "\r",
    "\t",
    "\v",
    "\0",
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\x9b2J",
    "\u202e",
    "\u2066",
    "\u2028",
    "\udcff",
    "\ud800",
    "\ufffe",
    "</script>",
    "<!--",
    "]]>",
    "<script>alert(1)</script>",
    '" onload="x',
    "&lt;",
    "&amp;",
    "&#60;",
    "[bold]",
    "[/x]",
    "$(id)",
    "`id`",
    "; id",
    "-o",
    "{x}",
    "%s",
    "é",
    "漢",
    "a b",
)
hostile = st.lists(st.sampled_from(SNIPPETS) | st.text(max_size=4), max_size=6).map("".join)
"""Texts that mean something in one language or another, surrogates among them."""
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@given(hostile)
def test_a_terminal_gets_no_control_character(text: str) -> None:
    shown = terminal(text)
    assert not HIDDEN.search(shown)
    assert not HIDDEN.search(one_line(text)) and not re.search(r"[\n\t]", one_line(text))
    shown.encode("utf-8")
    plain = "".join(c for c in text if (c.isascii() and c.isprintable()) or c == "\n")
    assert terminal(plain) == plain


@given(hostile)
@example('"; x = 1')
@example('x"""; __import__("os").system("id"); """')
@example("C:\\users\\N")
@example('ends in "')
def test_a_docstring_holds_the_text_and_nothing_else(text: str) -> None:
    source = docstring(text)
    (statement,) = ast.parse(source + "\n").body
    assert isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    assert statement.value.value == text
    assert not HIDDEN.search(source)
    source.encode("utf-8")


class Elements(HTMLParser):
    """The elements, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(hostile)
def test_html_and_svg_get_text(text: str) -> None:
    page = Elements(f'<p title="{markup(text)}">{markup(text)}</p>')
    assert page.found == [("p", [("title", terminal(text))])]
    assert page.text == terminal(text)
    element = ElementTree.fromstring(f'<p title="{markup(text)}">{markup(text)}</p>')
    assert not list(element) and (element.text or "") == terminal(text)
    assert element.attrib.keys() == {"title"}


@given(hostile)
def test_json_in_a_page_ends_no_script(text: str) -> None:
    written = json_in_html({text: [text]})
    assert json.loads(written) == {text: [text]}
    assert not set("<>&\u2028") & set(written)


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is missing")
@settings(max_examples=examples(25))
@given(hostile.filter(lambda text: "\v" not in text))
@example("\\N \\\\n \\G \\l \\ &amp;lt; &#65; <b>")
def test_graphviz_keeps_text(text: str) -> None:
    text = f"({text})"  # Graphviz takes an empty label, and white space at the ends, for its own
    graph = graphviz.Digraph("g")
    graph.node("n1", label=escaped_for_dot(text), tooltip=escaped_for_dot(text, tooltip=True))
    done = subprocess.run(["dot", "-Tsvg"], input=graph.source.encode(), capture_output=True, check=True)
    svg = ElementTree.fromstring(done.stdout)
    expected = [one_line(line) for line in text.split("\n")]
    shown = [t.text or "" for t in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert [s.replace("\xa0", " ") for s in shown] == [line.replace("\xa0", " ") for line in expected if line]
    (link,) = svg.iter("{http://www.w3.org/2000/svg}a")
    assert link.attrib == {"{http://www.w3.org/1999/xlink}title": "\n".join(expected)}
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}ellipse"))) == 1


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is missing")
@settings(max_examples=examples(25))
@given(st.lists(hostile.map(lambda t: re.sub("[\0\ud800-\udbff\udc00-\udc7f\udd00-\udfff]", "", t)), min_size=1))
def test_a_shell_reads_each_word_back(words: list[str]) -> None:
    line = command(*words)
    assert not HIDDEN.search(line) and "\n" not in line
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True, env={"LC_ALL": "C"}
    )
    assert done.stdout == b"".join(os.fsencode(word) + b"\0" for word in words)
