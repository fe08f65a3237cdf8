"""The documentation site: the tutorial prints what its page says, and the site builds without a broken link."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from fractal_dsl.cli.app import app
from tests.support.written import ROOT, TUTORIAL, assert_said, tutorial_commands, tutorial_files

FOLDERS = ("docs", "grammar", "examples", "benchmarks", "editors", "fractal_dsl")
QUICK = ("check", "info", "plan", "render")


def run(folder: Path, *words: str, module: str = "fractal_dsl") -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200"}
    line = [sys.executable, "-m", module, *words]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_the_tutorial_says_what_quick_commands_print(tmp_path: Path) -> None:
    quick = [(words, said) for words, said in tutorial_commands() if words[0] in QUICK]
    assert len(quick) >= 5
    for words, said in quick:
        assert_said(run(tutorial_files(tmp_path), *words), said)


def test_the_tutorial_shows_the_error_of_a_wrong_net(tmp_path: Path) -> None:
    wrong = (tutorial_files(tmp_path) / "net.frac").read_text().replace("linear(10)", "linear(9)")
    (tmp_path / "net.frac").write_text(wrong)
    line = [sys.executable, "-m", "fractal_dsl", "check", "net.frac"]
    done = subprocess.run(
        line, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    (shown,) = re.findall(r"^```text\n(error.*?)^```$", TUTORIAL, re.M | re.S)
    assert done.returncode == 1 and shown in done.stderr + done.stdout


def test_every_guide_is_in_the_contents_once() -> None:
    contents = (ROOT / "docs" / "index.md").read_text("utf-8").splitlines()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.stem == "index" or contents.count(page.stem) == 1, page.name


def test_every_link_leads_to_a_page_of_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    copied = [ROOT / file for file in importlib.import_module("generate").COPIED.values()]
    own = [*(ROOT / "docs").glob("*.md"), ROOT / "docs" / "gallery" / "README.md"]
    pages = {path.resolve() for path in (*own, *copied, ROOT / "README.md")}
    for page in (*own, *copied):
        for link in re.findall(r"(?<!`)\]\((?!https?:|#)([^)\s#]+\.md)", page.read_text("utf-8")):
            target = (page.parent / link).resolve()
            assert target in pages or "generated" in target.parts, f"{page.name} links {link}"


def test_every_page_names_commands_and_options_that_exist() -> None:
    group = typer.main.get_command(app)
    context = typer.Context(group, info_name="fractal-dsl")
    known: dict[str, set[str]] = {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        params = command.get_params(typer.Context(command))
        known[name] = {option for param in params for option in (*param.opts, *param.secondary_opts)}
    pages = [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
    named = 0
    for page in (page for page in pages if "node_modules" not in page.parts):
        text = page.read_text("utf-8").replace("\\\n", " ")
        for name, rest in re.findall(r"(?:fractal-dsl|-m fractal_dsl) ([a-z]+)([^\n`#|&]*)", text):
            options = {*re.findall(r"(?<=\s)--?[a-zA-Z][\w-]*", rest)}
            assert name in known and options <= known[name], (page, name, rest)
            named += 1
    assert named > 100


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="make site installs Sphinx")
    run(ROOT, "-W", "--keep-going", "-q", "-E", "-b", "html", "docs", str(tmp_path), module="sphinx")
    pages = {path.relative_to(tmp_path).as_posix(): path.read_text("utf-8") for path in tmp_path.rglob("*.html")}
    assert {"index.html", "start.html", "generated/language.html", "generated/errors.html", "api.html"} <= {*pages}
    assert 'src="play/index.html#s=' in pages["start.html"], "the tutorial embeds the playground"
    for name, text in pages.items():
        assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"https?:", text), f"{name} needs the network"
