"""The pages of sweeps and comparisons: pictures that say which settings are good, and tables that a click sorts."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from optuna.trial import TrialState

from fractal_dsl.runs.axes import scale_of
from fractal_dsl.runs.exploration import Explored, Setting, parallel_svg, settings_svgs
from fractal_dsl.runs.tasks import TASKS
from fractal_dsl.sweep.results import Results
from fractal_dsl.sweep.space import axis
from tests.test_sweep import a_ledger, a_sweep

SCORE = TASKS["classification"].score
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a sweep whose trials have scores that the learning rate explains most."""
    folder = tmp_path_factory.mktemp("swept") / "sweep"
    space = [
        axis("param", "columns", "1..3", "int"),
        axis("setting", "optimizer.lr", "0.001..0.1:log"),
        axis("param", "widths", "[16, 32]|[32, 64]", "[int]"),
    ]
    ledger = a_ledger(folder, a_sweep(*space, sampler="random", trials=12))
    while (claim := ledger.take()) is not None:
        lr, columns = claim.params["train.optimizer.lr"], claim.params["columns"]
        ledger.note(claim.number, {"params": 1000 * columns, "macs": 10**6 * columns, "seconds": 2.0 * columns})
        state, values = TrialState.COMPLETE, [0.9 - 0.1 * abs(math.log10(lr) + 2) + 0.001 * columns]
        ledger.storage.set_trial_state_values(
            ledger.storage.get_trial_id_from_study_id_trial_number(ledger.id, claim.number), state, values
        )
    Results(ledger).write(folder)
    return folder / "sweep.html"


def test_a_sweep_says_which_settings_matter(page: Path) -> None:
    html = page.read_text("utf-8")
    sections = re.findall(r"<h2>(.*?)</h2>", html)
    assert sections == ["History", "Importance", "Each setting", "All settings", "Trials"]
    bars = html[html.index("<h2>Importance</h2>") : html.index("<h2>Each setting</h2>")]
    shares = [int(share) for share in re.findall(r">(\d+)%<", bars)]
    names = re.findall(r">(columns|optimizer\.lr|widths)<", bars)
    assert names[-1] == "optimizer.lr" and max(shares) == shares[-1] > 60
    assert not re.search(r'(src|href)="(?!trial-)(?!#)[^"]', html), "the page needs another file"


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page with")
@pytest.mark.slow
def test_a_click_sorts_and_the_page_fits_a_phone(page: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
        errors: list[object] = []
        opened.on("pageerror", lambda error: errors.append(error))
        opened.goto(page.as_uri())
        assert opened.evaluate("document.documentElement.scrollWidth") == 390

        def column(number: int) -> list[float]:
            cells = opened.query_selector_all(f"table.sorted tbody td:nth-child({number})")
            return [float(cell.get_attribute("data-v") or "nan") for cell in cells]

        for _ in range(2):
            opened.click("table.sorted th:nth-child(3) button")
            order = opened.get_attribute("table.sorted th:nth-child(3)", "aria-sort")
            assert column(3) == sorted(column(3), reverse=order == "descending")
        assert order == "descending"
        opened.click("table.sorted th:nth-child(1) button")
        assert column(1) == list(range(12)) and not errors
        ring = opened.evaluate(
            "[...document.querySelectorAll('figure.plot use')].filter(u => u.style.strokeWidth === '1.1')"
            ".map(u => getComputedStyle(u).stroke)"
        )
        assert set(ring) == {"rgb(228, 228, 228)"}, "a dark page draws what is black in light"
        browser.close()


def test_axes_hold_numbers_and_texts() -> None:
    few = scale_of([3.0, 1.0, 2.0])
    assert [text for _, text in few.ticks] == ["1", "2", "3"] and few.share(2.0) == 0.5
    many = scale_of([float(v) for v in range(11)])
    assert [text for _, text in many.ticks] == ["0", "2", "4", "6", "8", "10"]
    log = scale_of([0.0021 * 1.5**i for i in range(12)])
    assert [text for _, text in log.ticks] == ["0.003", "0.01", "0.03", "0.1"] and log.log
    mixed = scale_of([1.0, "auto", 10.0])
    assert mixed.texts == ("1", "10", "auto") and mixed.share(10.0) == 0.5
    assert scale_of([5.0, 5.0]).share(5.0) == 0.5


@pytest.mark.parametrize("values", [(1.0, 2.0), ("a", "<b>&"), (0.001, 0.1), (-1.0, 100.0), ("$x", "y_z")])
def test_pictures_show_any_values(values: tuple[float | str, ...]) -> None:
    runs = Explored(("one", "two"), (Setting("a<b", values), Setting("same", (1.0, 1.0))), (0.5, 0.75), SCORE, "test")
    (svg,) = settings_svgs(runs, "s")
    assert "two: 75.00%" in svg and "a&lt;b" in svg and "same" not in svg
    assert parallel_svg(runs, "p").count("<title>one: 50.00%</title>") == 2
