"""What editors and other tools get: highlighting, the VS Code extension, Vim files, a pre-commit hook, an action.

``UPDATE_GOLDEN=1 pytest tests/test_editors.py`` runs ``editors/make.py``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pygments.lexers
import pytest
import yaml
from pygments.token import Error, Keyword, Name, Number, Operator, String

from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.source import Source
from fractal_dsl.language.text_to_syntax import KEYWORDS
from fractal_dsl.language.text_to_syntax.lexer import lex
from fractal_dsl.services.highlighting import LOGIC, FracLexer

ROOT = Path(__file__).parents[1]
EDITORS = ROOT / "editors"
TEXTS = [*(ROOT / "examples").rglob("*.frac"), *(ROOT / "fractal_dsl").rglob("*.frac")]
TEXTS += [ROOT / "tests" / "golden" / "format_after.frac", ROOT / "tests" / "golden" / "format_before.frac"]
NAMES = [path.relative_to(ROOT).as_posix() for path in TEXTS]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

spec = importlib.util.spec_from_file_location("make_editors", EDITORS / "make.py")
assert spec and spec.loader
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)

Piece = tuple[int, int, str]
"""A token: its start, its end, and what it is."""


def real(text: str) -> list[Piece]:
    """The tokens of the language's own lexer, and comments."""
    source = Source("<text>", text)
    tokens, comments = lex(source, Report(source))
    pieces = [(t.start_pos, t.end_pos, t.type) for t in tokens]
    return sorted([*pieces, *[(c.span.start, c.span.end, "COMMENT") for c in comments]])


def by_pygments(text: str) -> list[Piece]:
    pieces = [(at, at + len(word), str(kind)) for at, kind, word in FracLexer().get_tokens_unprocessed(text)]
    assert all(kind != str(Error) for _, _, kind in pieces)
    return [piece for piece in pieces if text[piece[0] : piece[1]].strip()]


def by_textmate(text: str) -> list[Piece]:
    """The tokens of the TextMate grammar, which is one list of patterns: the first that matches first wins."""
    rules: list[tuple[re.Pattern[str], dict[str, Any]]] = []
    for rule in json.loads(make.TEXTMATE.read_text("utf-8"))["patterns"]:
        pattern = rule["match"].replace(r"[\p{L}_][\p{L}\p{M}\p{N}_]*", r"[^\W\d]\w*")
        rules.append((re.compile(pattern, re.MULTILINE), rule))
    pieces: list[Piece] = []
    at = 0
    while at < len(text):
        matches = [(match.start(), i, match) for i, (p, _) in enumerate(rules) if (match := p.search(text, at))]
        if not matches:
            assert not text[at:].strip()
            break
        start, i, match = min(matches, key=lambda m: m[:2])
        assert not text[at:start].strip(), text[at:start]
        rule = rules[i][1]
        groups = {int(k): v["name"] for k, v in rule.get("captures", {}).items()} or {0: rule["name"]}
        pieces += [(*match.span(group), name) for group, name in groups.items()]
        at = match.end()
    return pieces


LEXERS: dict[str, tuple[Callable[[str], list[Piece]], dict[str, str]]] = {
    "pygments": (
        by_pygments,
        {"keyword": str(Keyword), "string": str(String), "number": str(Number), "comment": "Token.Comment"},
    ),
    "textmate": (
        by_textmate,
        {"keyword": "storage|keyword.control|constant.language", "string": "string", "number": "constant.numeric",
         "comment": "comment"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("lexer", LEXERS)
@pytest.mark.parametrize("path", TEXTS, ids=NAMES)
def test_lexers_cut_as_the_language_does(path: Path, lexer: str) -> None:
    text = path.read_text("utf-8")
    read, kinds = LEXERS[lexer]
    ours, theirs = real(text), read(text)
    assert [piece[:2] for piece in theirs] == [piece[:2] for piece in ours]
    for (start, end, kind), (_, _, shown) in zip(ours, theirs, strict=True):
        word = text[start:end]
        expected = {"STRING": "string", "COMMENT": "comment"}.get(kind, "")
        expected = "number" if kind in ("INT", "FLOAT", "PROB") else expected
        is_keyword = word in KEYWORDS and word not in LOGIC
        expected = "keyword" if is_keyword else expected
        if expected:
            assert re.match(kinds[expected], shown), (word, shown)
        elif kind == "NAME":
            assert not re.match(rf"({kinds['keyword']})(?!.Type)", shown), (word, shown)


@pytest.mark.parametrize("lexer", LEXERS)
@pytest.mark.parametrize("word", KEYWORDS)
def test_every_keyword_is_one(lexer: str, word: str) -> None:
    read, kinds = LEXERS[lexer]
    (piece,) = read(word)
    logical = {"pygments": str(Operator.Word), "textmate": "keyword.operator.logical"}[lexer]
    assert re.match(logical if word in LOGIC else kinds["keyword"], piece[2])


def test_files_are_up_to_date() -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        make.TEXTMATE.write_text(make.textmate(), "utf-8")
        make.VIM.write_text(make.vim(), "utf-8")
    assert make.TEXTMATE.read_text("utf-8") == make.textmate(), "run python editors/make.py"
    assert make.VIM.read_text("utf-8") == make.vim(), "run python editors/make.py"


def test_pygments_finds_the_lexer() -> None:
    """By its entry point, which an installation from before it lacks."""
    assert 'frac = "fractal_dsl.services.highlighting:FracLexer"' in (ROOT / "pyproject.toml").read_text("utf-8")
    if any(point.name == "frac" for point in entry_points(group="pygments.lexers")):
        assert pygments.lexers.get_lexer_for_filename("net.frac").name == "Frac"


def test_pygments_tells_names_apart() -> None:
    pieces = by_pygments('layer a(w: int) = conv2d(w, 3) @tag("x")\n')
    kinds = {kind for _, _, kind in pieces}
    assert {str(Name.Function), str(Name.Builtin), str(Name.Decorator), str(Keyword.Type)} <= kinds


# --- Vim


@pytest.mark.skipif(not shutil.which("vim"), reason="vim is not installed")
def test_vim_colours_and_finds_errors(tmp_path: Path) -> None:
    net = tmp_path / "net.frac"
    lines = ["## A comment.", 'layer a(w: int) = conv2d(w, 3) >> relu @tag("x")', "let p = 15%"]
    net.write_text("\n".join([*lines, "net N(x: f32[8]) -> f32[8] = linaer(8)"]))
    places = {"Doc": (1, 1), "Declaration": (2, 1), "Type": (2, 12), "Native": (2, 19), "Operator": (2, 32)}
    places |= {"String": (2, 46), "Number": (3, 9)}
    asked = ",".join(f"synIDattr(synID({line}, {column}, 1), 'name')" for line, column in places.values())
    errors = "map(getqflist(), {_, e -> e.type . e.lnum . ':' . e.col . e.text})"
    script = tmp_path / "script.vim"
    script.write_text(
        f"""set nocompatible
set runtimepath^={EDITORS / "vim"}
syntax enable
filetype plugin on
edit {net}
let &makeprg = '{sys.executable} -m fractal_dsl check %:S'
silent make!
call writefile([&filetype, &commentstring] + [{asked}] + {errors}, '{tmp_path / "out"}')
qall!
"""
    )
    command = ["vim", "-es", "-N", "-u", "NONE", "-i", "NONE", "-S", str(script)]
    subprocess.run(command, env=ENVIRONMENT, check=False, timeout=60, stdin=subprocess.DEVNULL, capture_output=True)
    filetype, comments, *rest = (tmp_path / "out").read_text().splitlines()
    assert (filetype, comments) == ("frac", "# %s")
    assert rest == [*[f"frac{name}" for name in places], "e4:30unknown name `linaer`"]


# --- VS Code


def package() -> dict[str, Any]:
    return json.loads((EDITORS / "vscode" / "package.json").read_text("utf-8"))


def test_the_extension_names_files_that_exist() -> None:
    contributed = package()["contributes"]
    files = [item["configuration"] for item in contributed["languages"]]
    files += [item["path"] for item in contributed["grammars"]]
    assert all((EDITORS / "vscode" / file).is_file() for file in files)
    sources = "".join(path.read_text("utf-8") for path in (EDITORS / "vscode" / "src").glob("*.js"))
    for command in contributed["commands"]:
        assert f'"{command["command"]}"' in sources
    for setting in contributed["configuration"]["properties"]:
        assert f'"{setting.partition(".")[2]}"' in sources
    assert "resolved" not in (EDITORS / "vscode" / "package-lock.json").read_text("utf-8")


PREVIEW = """
const Module = require("node:module");
const panel = {webview: {html: ""}, reveal() {}, onDidDispose() {}, dispose() {}};
let changed;
const vscode = {
  ViewColumn: {Beside: 2},
  window: {createWebviewPanel: () => panel},
  workspace: {onDidChangeTextDocument: listener => { changed = listener; return {dispose() {}}; }},
};
const load = Module._load;
Module._load = (name, ...rest) => name === "vscode" ? vscode : load(name, ...rest);
const {Picture} = require(process.argv[1]);
const asked = [], answers = [{page: "<head></head>one"}, {error: "wrong"}, {page: "<head></head>two"}];
const client = {sendRequest: async (...request) => { asked.push(request); return answers.shift(); }};
const picture = new Picture(() => client), uri = {toString: () => "file:///net.frac", path: "/net.frac"};
const document = {uri, languageId: "frac"}, pages = [], pause = () => new Promise(done => setTimeout(done, 320));
(async () => {
  await picture.open({document});
  pages.push(panel.webview.html);
  for (let i = 0; i < 2; i++) {
    changed({document});
    changed({document});
    await pause();
    pages.push(panel.webview.html);
  }
  picture.dispose();
  console.log(JSON.stringify({asked, pages, title: panel.title}));
})();
"""


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_the_live_picture_follows_the_text() -> None:
    """It is drawn once for a run of changes, and the last picture stays while the text has errors."""
    module = str(EDITORS / "vscode" / "src" / "picture.js")
    done = subprocess.run(["node", "-e", PREVIEW, module], capture_output=True, text=True, check=True, timeout=60)
    told = json.loads(done.stdout)
    assert told["asked"] == [["fractal-dsl/picture", {"uri": "file:///net.frac"}]] * 3
    assert [re.sub(r"<meta.*?>", "", page) for page in told["pages"]] == [
        "<head></head>one", "<head></head>one", "<head></head>two"
    ]  # fmt: skip
    assert all("default-src 'none'" in page for page in told["pages"])
    assert told["title"] == "Picture of net.frac"


TOKENS = """
const fs = require("fs"), path = require("path"), folder = process.argv[1];
const {loadWASM, OnigScanner, OnigString} = require(path.join(folder, "node_modules/vscode-oniguruma"));
const {Registry, INITIAL, parseRawGrammar} = require(path.join(folder, "node_modules/vscode-textmate"));
(async () => {
  await loadWASM(fs.readFileSync(path.join(folder, "node_modules/vscode-oniguruma/release/onig.wasm")).buffer);
  const file = path.join(folder, "syntaxes/frac.tmLanguage.json");
  const registry = new Registry({
    onigLib: Promise.resolve({createOnigScanner: p => new OnigScanner(p), createOnigString: s => new OnigString(s)}),
    loadGrammar: async () => parseRawGrammar(fs.readFileSync(file, "utf8"), file),
  });
  const grammar = await registry.loadGrammar("source.frac"), bare = [];
  let stack = INITIAL;
  for (const line of fs.readFileSync(process.argv[2], "utf8").split("\\n")) {
    const result = grammar.tokenizeLine(line, stack);
    stack = result.ruleStack;
    for (const token of result.tokens)
      if (token.scopes.length < 2 && line.slice(token.startIndex, token.endIndex).trim()) bare.push(line);
  }
  console.log(JSON.stringify(bare));
})();
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed")
def test_the_extension_is_packaged_without_warnings(tmp_path: Path) -> None:
    """And VS Code's own engine for TextMate grammars leaves nothing of the examples without a scope."""
    folder = tmp_path / "editors" / "vscode"
    kept_out = shutil.ignore_patterns("node_modules", "dist", "*.vsix", "LICENSE")
    shutil.copytree(EDITORS / "vscode", folder, ignore=kept_out)
    shutil.copy(ROOT / "LICENSE", tmp_path)
    install = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True, timeout=300
    )
    if install.returncode:
        pytest.skip(f"npm cannot install: {install.stderr[-200:]}")
    done = subprocess.run(["npm", "run", "package"], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARN" not in done.stdout + done.stderr
    assert len([*folder.glob("*.vsix")]) == 1
    for path in TEXTS:
        command = ["node", "-e", TOKENS, str(folder), str(path)]
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert json.loads(told.stdout) == [], path


# --- pre-commit and GitHub


@pytest.fixture
def on_path(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment in which the shell finds `fractal-dsl`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "fractal-dsl").write_text(f'#!/bin/sh\nexec {sys.executable} -m fractal_dsl "$@"\n')
    (folder / "fractal-dsl").chmod(0o755)
    yield {**ENVIRONMENT, "PATH": f"{folder}:{os.environ['PATH']}", "GITHUB_ACTION_PATH": str(ROOT)}


def test_the_hooks_format_and_check_the_files_they_get(tmp_path: Path, on_path: dict[str, str]) -> None:
    hooks = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    assert {*hooks} == {"fractal-dsl-fmt", "fractal-dsl-check"}
    for hook in hooks.values():
        assert hook["language"] == "python"
        assert re.search(hook["files"], "nets/a.frac") and not re.search(hook["files"], "a.frac.txt")
    (tmp_path / "a.frac").write_text("let  a=3\n")
    (tmp_path / "b.frac").write_text("net N(x: f32[8]) -> f32[8] = linaer(8)\n")
    codes: dict[str, int] = {}
    for name, hook in hooks.items():
        command = [*hook["entry"].split(), "a.frac", "b.frac"]
        codes[name] = subprocess.run(command, cwd=tmp_path, env=on_path, capture_output=True, timeout=60).returncode
    assert (tmp_path / "a.frac").read_text() == "let a = 3\n"
    assert codes == {"fractal-dsl-fmt": 0, "fractal-dsl-check": 1}


def test_the_action_runs_and_github_reads_its_errors(tmp_path: Path, on_path: dict[str, str]) -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    steps = {step["name"]: step for step in action["runs"]["steps"] if "name" in step}
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "a.frac").write_text("net N(x: f32[8]) -> f32[8] = linaer(8)\n")

    def step(name: str, paths: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-e", "-c", steps[name]["run"]]
        environment = {**on_path, "PATHS": paths}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)

    assert step("Check the format", "nets").returncode == 0
    checked = step("Check the specs", "nets")
    assert checked.returncode == 1
    matcher = Path(checked.stdout.splitlines()[0].removeprefix("::add-matcher::"))
    first, second = json.loads(matcher.read_text())["problemMatcher"][0]["pattern"]
    lines = checked.stderr.splitlines()
    at = next(i for i, line in enumerate(lines) if re.search(first["regexp"], line))
    message, place = re.search(first["regexp"], lines[at]), re.search(second["regexp"], lines[at + 1])
    assert message and place
    assert message.groups() == ("error", "E0201", "unknown name `linaer`")
    assert place.groups() == (f"nets{os.sep}a.frac", "1", "30")
