"""Writes the pages of the site that come from elsewhere: the reference, the commands, the errors, the examples."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from pygments.token import Error

from fractal_dsl.services.highlighting import FracLexer

ROOT = Path(__file__).resolve().parent.parent

# page: the file that it copies
COPIED = {
    "language.md": "grammar/README.md",
    "paper.md": "examples/paper/README.md",
    "editors.md": "editors/README.md",
    "benchmarks.md": "benchmarks/README.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
}
# what a benchmark printed: linked from other pages, and in no table of contents
PRINTED = {path.name: f"benchmarks/{path.name}" for path in (ROOT / "benchmarks").glob("[a-z]*.md")}
COPIED |= PRINTED
_LINK = re.compile(r"(?<!`)\]\((?!https?:|#|mailto:)([^)\s#]+)(#[^)\s]*)?\)")


def generate(folder: Path) -> None:
    """Write the pages into a folder of docs/. Files that have not changed keep their time, so Sphinx skips them."""
    pages = {
        name: relinked((ROOT / file).read_text("utf-8"), (ROOT / file).parent, folder) for name, file in COPIED.items()
    }
    pages |= {name: f"---\norphan: true\n---\n\n{pages[name]}" for name in PRINTED}
    pages |= {"errors.md": errors(), "commands.md": commands(), "examples.md": examples()}
    folder.mkdir(exist_ok=True)
    _draw_tutorial(folder)
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def relinked(text: str, at: Path, folder: Path) -> str:
    """A page of the folder ``at`` for ``folder``: its links lead to pages of the site, or else to the same files."""
    pages = {(ROOT / source).resolve(): ROOT / "docs" / "generated" / name for name, source in COPIED.items()}
    pages[ROOT / "README.md"] = ROOT / "docs" / "index.md"

    def moved(match: re.Match[str]) -> str:
        target = (at / match[1]).resolve()
        target = pages.get(target, target)
        if target.is_dir():
            return "]"
        anchor = "" if target.name == "index.md" else match[2] or ""
        return f"]({os.path.relpath(target, folder)}{anchor})"

    blocks = re.split(r"(^```.*?^```$|`[^`\n]*`)", text, flags=re.M | re.S)
    return "".join(part if part.startswith("`") else _LINK.sub(moved, part) for part in blocks)


def _draw_tutorial(folder: Path) -> None:
    """Draw the net of the tutorial."""
    spec = re.search(
        r"^```frac file net.frac\n(.*?)^```$", (ROOT / "docs" / "start.md").read_text("utf-8"), re.M | re.S
    )
    assert spec, "the tutorial has a file net.frac"
    command = [sys.executable, "-m", "fractal_dsl", "render", "-", "--view", "figure", "-o", str(folder / "figure.svg")]
    subprocess.run([*command, "--theme", "auto"], input=spec[1], text=True, check=True, capture_output=True, cwd=ROOT)


def errors() -> str:
    """The index of errors and warnings, each with its explanation and examples."""
    from fractal_dsl.language.diagnostics import CODES
    from fractal_dsl.services.explanations import EXPLANATIONS, printed

    parts = ["# Errors and warnings", "`fractal-dsl explain E0501` prints one of these. Codes with W are warnings."]
    for code, entry in EXPLANATIONS.items():
        parts += [f"## {code}: {CODES[code]}", " ".join(entry.meaning.split())]
        parts += ["Wrong:", _block("frac", entry.wrong), _block("text", entry.error or printed(entry.wrong))]
        parts += ["Right:", _block("frac", entry.right)] if entry.right else []
    return "\n\n".join(parts) + "\n"


def _block(kind: str, text: str) -> str:
    """A block of code. Frac that the highlighter cannot read is plain text."""
    if kind == "frac" and any(token is Error for token, _ in FracLexer().get_tokens(text)):
        kind = "text"
    return f"```{kind}\n{text.strip()}\n```"


def commands() -> str:
    """Every command with its arguments and options, as ``--help`` describes them."""
    import typer
    import typer.main

    from fractal_dsl.cli.app import app

    group = typer.main.get_command(app)
    outer = typer.Context(group, info_name="fractal-dsl")
    parts = ["# Commands", "`fractal-dsl COMMAND --help` prints the same in the terminal."]
    for name in group.list_commands(outer):
        command = group.get_command(outer, name)
        context = typer.Context(command, info_name=name, parent=outer)
        usage = " ".join(["fractal-dsl", name, *command.collect_usage_pieces(context)])
        records = [param.get_help_record(context) for param in command.get_params(context)]
        rows = [f"| {_cell(opts, code=True)} | {_cell(text)} |" for opts, text in filter(None, records)]
        about = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
        table = "\n".join(["| | |", "| --- | --- |", *rows])
        parts += [
            f"## {name}",
            about,
            _block("text", usage),
            table,
            _block("text", str(command.epilog)) * bool(command.epilog),
        ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _cell(text: str, *, code: bool = False) -> str:
    """A cell of a table in Markdown."""
    text = " ".join(text.split()).replace("|", "\\|")
    return f"`{text}`" if code else text.replace("<", "&lt;").replace("*", "\\*")


def examples() -> str:
    """Every file of examples/, with its first comment and its text."""
    parts = ["# Examples", "These files ship with the package, in `fractal_dsl/examples/`."]
    for path in sorted((ROOT / "examples").glob("*.frac")):
        parts += [f"## {path.stem}", _block("frac", path.read_text("utf-8"))]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    shutil.rmtree(ROOT / "docs" / "generated", ignore_errors=True)
    generate(ROOT / "docs" / "generated")
