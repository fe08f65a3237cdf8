"""Someone at the page of the playground, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def launched() -> Generator[Any]:
    """A browser that reaches this machine only. The test is skipped without the playwright package."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the playwright package drives the browser")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        )
        yield browser
        browser.close()


class Reader:
    """Someone at the page. What the page says on its console, and what it throws, is in ``said``."""

    def __init__(self, page: Any) -> None:
        self.page, self.said = page, []
        page.set_default_timeout(10_000)
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))

    def opens(self, address: str) -> None:
        self.page.goto(address)
        self.settle("0")

    @property
    def settled(self) -> str:
        return self.page.get_attribute("body", "data-settled") or "0"

    def settle(self, before: str) -> None:
        """Wait until the page has the answer to what has been done since ``before``, and shows the picture."""
        self.page.wait_for_selector(f"body[data-settled]:not([data-settled='{before}'])", state="attached")
        self.page.wait_for_selector("#frames iframe:only-child", state="attached")
        self.page.frame_locator("#frames iframe").locator("main > svg").wait_for()

    def types(self, text: str) -> None:
        before = self.settled
        self.page.keyboard.type(text)
        self.settle(before)

    def presses(self, key: str) -> None:
        before = self.settled
        self.page.keyboard.press(key)
        self.settle(before)

    def waits(self, condition: str) -> None:
        """Wait for a condition in JavaScript. Playwright's own way would need `eval`, which the page forbids."""
        for _ in range(200):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(50)
        raise TimeoutError(condition)

    def text(self) -> str:
        return self.page.evaluate("text()")

    def selected(self) -> str:
        return self.page.evaluate("view.state.sliceDoc(view.state.selection.main.from, view.state.selection.main.to)")

    def at(self, text: str) -> None:
        """Put the caret behind a text."""
        self.page.evaluate("s => { const at = text().indexOf(s) + s.length; select(at, at); }", text)

    def pastes(self, text: str) -> None:
        """Replace all of the text; playwright's own way of filling takes minutes for a long one."""
        before = self.settled
        self.page.evaluate("given => replaceText(given)", text)
        self.settle(before)

    def boxes(self) -> int:
        return self.page.frame_locator("#frames iframe").locator("g.node:not(.legend)").count()

    def figure(self, name: str) -> str:
        return self.page.inner_text(f"#figures dt:text-is('{name}') + dd")
