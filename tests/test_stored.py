"""Compiled folders and runs where a spec is expected: they are trained, drawn, inspected, or refused with a reason."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import safetensors.torch as st
import torch

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.manifest import write_manifest
from fractal_dsl.cli import main
from fractal_dsl.evaluation.run import Run
from fractal_dsl.play.documents import Documents
from fractal_dsl.runtime.artifact import load_artifact
from fractal_dsl.runtime.raw import on_raw_data
from fractal_dsl.stored.kinds import kind_of
from tests.support.runs import SPEC, ends_of

TINY = SPEC.replace("epochs     = 4", "epochs     = 1\n    seed       = 3")
PYTHON = """
extern layer Swish(beta: float) from "my_layers:Swish"
net N(x: f32[4]) -> f32[2] = Swish(1.0) >> linear(2)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a spec, to be in."""
    (tmp_path / "tiny.frac").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*args: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["fractal-dsl", *args])
        found = 0
        try:
            main()
        except SystemExit as exit:
            found = exit.code
        captured = capsys.readouterr()
        printed = captured.out + captured.err
        assert "Traceback" not in printed and "internal error" not in printed
        assert found == code, printed
        return printed if code else captured.out

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled folder ``tiny``, a run ``run`` and a fused column ``column``, all made once."""
    from fractal_dsl.config import parse_config
    from fractal_dsl.deploy.extract import extract
    from fractal_dsl.pipeline import compile_file
    from fractal_dsl.runtime import build
    from fractal_dsl.runtime.artifact import save_artifact
    from fractal_dsl.training.train import train

    folder = tmp_path_factory.mktemp("made")
    (folder / "tiny.frac").write_text(TINY)
    compiled = compile_file(folder / "tiny.frac")
    save_artifact(compiled, build(compiled, 3), folder / "tiny")
    train(compiled, parse_config({**compiled.program.train, "batch": 8}), folder / "run")
    extract(folder / "tiny", 2, folder / "column", fold=True)
    return folder


# --- without options


def test_compile_writes_beside_the_spec_and_says_what_comes_next(run, place: Path) -> None:
    """The commands are for a shell, as printed: the folder's name has a space and a quotation mark."""
    home = place / "it's here"
    home.mkdir()
    (home / "tiny.frac").write_text(TINY)
    printed = run("compile", str(home / "tiny.frac"))
    assert (home / "tiny" / "model.py").is_file()
    _, behind, next_ = printed.partition("\nnext:\n")
    commands = [shlex.split(line) for line in next_.splitlines()]
    assert behind and [words[:2] for words in commands] == [["fractal-dsl", c] for c in ("train", "render", "info")]
    for words in commands:
        run(*words[1:])
    assert (home / "tiny-compiled.svg").is_file() and kind_of(place / "runs" / "tiny-1") == "training run"


def test_what_comes_next_has_the_options_that_the_net_needs(run, place: Path) -> None:
    (place / "-n.frac").write_text("net N(x: f32[4]) -> f32[2] = linear(2)")
    printed = run("compile", "--max-layers", "9", "--", "-n.frac")
    assert "  fractal-dsl train ./-n --dataset NAME --max-layers 9\n" in printed


def test_a_compiled_run_is_not_to_be_trained_next(run, place: Path, made: Path) -> None:
    given = shutil.copytree(made / "run", place / "my run")
    printed = run("compile", str(given))
    assert "the best weights of the run" in printed
    evaluate, deploy, extract = [shlex.split(line)[1:] for line in printed.partition("\nnext:\n")[2].splitlines()]
    assert (evaluate, deploy) == (["eval", str(given)], ["deploy", str(given)])
    assert extract[:4] == ["extract", f"{given}-compiled", "--column", "3"]
    run(*extract)
    assert (place / "my run-compiled-column3" / "model.py").is_file()


def test_compile_leaves_folders_of_others_alone(run, place: Path, made: Path) -> None:
    (place / "tiny").mkdir()
    (place / "tiny" / "thesis.tex").write_text("mine")
    assert "tiny exists and is not a compiled network: choose another place with -o" in run(
        "compile", "tiny.frac", code=1
    )
    (place / "tiny" / "thesis.tex").unlink()
    run("compile", "tiny.frac")
    run("compile", "tiny.frac")
    run("compile", str(made / "run"), "-o", "tiny")
    assert "has trained weights" in run("compile", "tiny.frac", code=1)
    run("compile", "tiny.frac", "-o", "tiny")


def test_render_draws_beside_the_spec(run, place: Path, made: Path) -> None:
    assert run("render", "tiny.frac") == "tiny.svg\n"
    assert run("render", "tiny.frac", "--view", "rule") == "tiny.svg\n"
    for name, ending in (("tiny", "-compiled.svg"), ("run", "-run.svg")):
        assert run("render", str(made / name)) == f"{made / name}{ending}\n"
    assert not (made / "tiny.svg").exists()  # the name of the spec's own picture
    (place / "tiny.svg").write_text("<svg>my own</svg>")
    assert "tiny.svg exists and was not drawn by fractal-dsl" in run("render", "tiny.frac", code=1)
    assert (place / "tiny.svg").read_text() == "<svg>my own</svg>"
    run("render", "tiny.frac", "-o", "tiny.svg")
    run("render", "tiny.frac")
    assert "there is no folder pictures" in run("render", "tiny.frac", "-o", "pictures/tiny.svg", code=1)
    assert not (place / "pictures").exists()


def test_render_prints_a_picture(run, place: Path) -> None:
    printed = run("render", "tiny.frac", "-o", "-")
    assert printed.startswith("<?xml") and printed.endswith("</svg>\n")
    assert [f.name for f in place.iterdir()] == ["tiny.frac"]


@pytest.mark.parametrize("words", ["compile -", "render -", "compile .", "render .", "compile bare", "compile a.FRAC"])
def test_what_gives_no_name_needs_an_output(
    run, place: Path, made: Path, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bare", "a.FRAC"):
        (place / name).write_text(TINY)
    if words.endswith("."):
        monkeypatch.chdir(made / "run")
    printed = run(*words.split(), code=2)
    assert "with -o" in printed and ("does not end in .frac" in printed) == words.endswith(("bare", "FRAC"))


@pytest.mark.parametrize("command", ["compile", "render"])
def test_what_is_no_spec_is_told_before_a_place_is_asked_for(run, place: Path, command: str) -> None:
    (place / "empty").mkdir()
    assert "there is no such file" in run(command, "nothing", code=1)
    for folder in ("empty", "."):
        assert "neither a compiled network nor a training run" in run(command, folder, code=1)
    assert sorted(path.name for path in place.iterdir()) == ["empty", "tiny.frac"]


@pytest.mark.parametrize("target", ["new", "empty", "ours"])
@pytest.mark.parametrize(
    ("words", "link"),
    [("compile tiny.frac", "tiny"), ("render tiny.frac", "tiny.svg"), ("compile run", "run-compiled")],
)
def test_a_link_at_a_default_place_is_followed_only_if_it_is_named(
    run, place: Path, made: Path, tmp_path_factory: pytest.TempPathFactory, words: str, link: str, target: str
) -> None:
    """A link may come with somebody else's files, and lead out of them."""
    shutil.copytree(made / "run", place / "run")
    there = tmp_path_factory.mktemp("outside") / ("there.svg" if "render" in words else "there")
    if target == "ours":
        run(*words.split(), "-o", str(there))
    elif target == "empty":
        there.touch() if "render" in words else there.mkdir()
    (place / link).symlink_to(there)
    before = {path: path.stat().st_mtime_ns for path in [there, *there.rglob("*")] if path.exists()}
    assert f"{link} is a link: choose another place with -o" in run(*words.split(), code=1)
    assert {path: path.stat().st_mtime_ns for path in [there, *there.rglob("*")] if path.exists()} == before
    run(*words.split(), "-o", link)
    assert (place / link).is_symlink() and there.exists()


@pytest.mark.parametrize("part", ["model.py", "spec/tiny.frac", "manifest.json", "weights.safetensors"])
def test_compile_replaces_an_edited_folder_only_if_it_is_named(run, place: Path, part: str) -> None:
    run("compile", "tiny.frac")
    file = place / "tiny" / part
    edited = file.read_bytes().replace(b'"seed": 3', b'"seed": 4') if part == "manifest.json" else b"mine"
    file.write_bytes(edited)
    printed = run("compile", "tiny.frac", code=1)
    assert part in printed and "choose another folder with -o" in printed and file.read_bytes() == edited
    run("compile", "tiny.frac", "-o", "tiny")
    file.unlink()
    if part != "manifest.json":
        run("compile", "tiny.frac")  # nothing is lost


def test_folders_whose_names_are_not_utf8_work(run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = place / os.fsdecode(b"caf\xe9")
    try:
        home.mkdir()
    except OSError:
        pytest.skip("this disk takes only UTF-8 names")
    (home / "tiny.frac").write_text(TINY)
    net, trained = str(home / "tiny"), str(home / "run")
    run("compile", str(home / "tiny.frac"))
    run("train", net, "--seed", "9", "--out", trained, "--max-minutes", "1e-9")
    run("train", "--resume", trained, "--max-minutes", "inf")
    run("eval", trained)
    run("compile", trained)
    monkeypatch.chdir(home)
    assert "init_from: the path" in run("train", "tiny.frac", "--init-from", "run", "--out", "more", code=1)
    assert not Path("more").exists()
    assert "is not UTF-8" in run("train", net, "--parallel", "fsdp", "--out", str(home / "b"), code=1)


# --- trained


@pytest.mark.parametrize("seed", [(), ("--seed", "5")])
def test_a_compiled_folder_trains_to_the_bits_of_its_spec(run, place: Path, seed: tuple[str, ...]) -> None:
    run("compile", "tiny.frac", *seed)
    run("train", "tiny", "--out", "compiled")
    run("train", "tiny.frac", "--out", "spec", *seed)
    assert ends_of(place / "compiled") == ends_of(place / "spec")
    written = [{f.name for f in (place / name).iterdir()} for name in ("compiled", "spec")]
    assert written[0] == written[1]
    assert (place / "compiled" / "config.json").read_text() == (place / "spec" / "config.json").read_text()


@pytest.mark.slow
def test_another_seed_keeps_the_weights(run, place: Path) -> None:
    """Stopped after its first step and resumed, the run ends as one that was not; ``--plain`` begins with them, too."""
    run("compile", "tiny.frac")
    options = ["--seed", "9", "--plain", "2"]
    run("train", "tiny", *options, "--out", "whole")
    run("train", "tiny", *options, "--out", "parts", "--max-minutes", "1e-9")
    run("train", "--resume", "parts", "--max-minutes", "inf")
    assert ends_of(place / "parts") == ends_of(place / "whole")
    plain = "plain/last.safetensors"
    assert (place / "parts" / plain).read_bytes() == (place / "whole" / plain).read_bytes()
    kept = st.load_file(place / "whole" / "initial.safetensors")
    compiled = st.load_file(place / "tiny" / "weights.safetensors")
    assert all(torch.equal(kept[name], value) for name, value in compiled.items() if name != "_extra_state")


@pytest.mark.parametrize(("options", "noted"), [([], False), (["--seed", "3"], False), (["--set", "seed=4"], True)])
def test_another_seed_is_noted(
    run, options: list[str], noted: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run("compile", "tiny.frac")
    monkeypatch.setattr(sys, "argv", ["fractal-dsl", "train", "tiny", *options])
    with pytest.raises(SystemExit):
        main()
    assert ("drawn with seed 3 and are kept. Seed 4 draws the rest" in capsys.readouterr().err) == noted


def test_first_weights_that_were_altered_stop_a_resume(run, place: Path) -> None:
    run("compile", "tiny.frac")
    run("train", "tiny", "--seed", "9", "--out", "run", "--max-minutes", "1e-9")
    (place / "run" / "initial.safetensors").unlink()
    assert "the first weights in run have changed since its checkpoint" in run("train", "--resume", "run", code=1)


def test_a_run_compiles_to_its_best_weights_which_train_on(run, place: Path, made: Path) -> None:
    run("compile", str(made / "run"), "-o", "net")
    opened, net = Run.open(made / "run"), load_artifact(place / "net")
    best = on_raw_data(opened.load("best"), {"image": (opened.data().mean, opened.data().std)}, {})
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(net(x), best(x)) and torch.equal(net.column(3)(x), best.column(3)(x))
    assert "normalisation" in json.loads((place / "net" / "manifest.json").read_text())
    run("train", "net", "--out", "more")
    assert (place / "more" / "initial.safetensors").is_file()
    run("extract", "net", "--column", "1", "-o", "column")


def test_the_spec_of_a_run_is_not_compiled_without_a_word(run, place: Path, made: Path) -> None:
    """It would get new weights, although its folder has trained ones."""
    spec = next((made / "run" / "spec").glob("*.frac"))
    printed = run("compile", str(spec), code=1)
    assert f"`fractal-dsl compile {made / 'run'}` compiles the trained net" in printed
    assert [*spec.parent.iterdir()] == [spec]
    run("compile", str(spec), "-o", "new")
    assert (place / "new" / "model.py").is_file()


def test_a_folder_that_was_not_compiled_yet_is_told(run) -> None:
    printed = run("train", "tiny", code=1)
    assert "`fractal-dsl train tiny.frac`" in printed and "`fractal-dsl compile tiny.frac`" in printed


# --- inspected


@pytest.mark.parametrize("folder", ["tiny", "run"])
@pytest.mark.parametrize("command", ["info --json", "plan --json", "compile --emit labelled"])
def test_folders_are_as_their_spec(run, made: Path, folder: str, command: str) -> None:
    name, *options = command.split()
    assert run(name, str(made / folder), *options) == run(name, "tiny.frac", *options)


def test_scaling_takes_the_settings_of_a_run(run, made: Path) -> None:
    spec, network, trained = (
        run("scaling", str(path), "-n", "1") for path in ("tiny.frac", made / "tiny", made / "run")
    )
    assert spec == network != trained
    assert trained == run("scaling", "tiny.frac", "-n", "1", "--batch", "8")


def test_check_looks_at_the_whole_folder(run, made: Path, place: Path) -> None:
    assert run("check", str(made / "tiny")) == f"{made / 'tiny'}: ok (compiled network: Tiny)\n"
    assert run("check", str(made / "run")) == f"{made / 'run'}: ok (training run: Tiny)\n"
    assert ": ok (compiled network: column 2 of Tiny, batch norms folded)" in run("check", str(made / "column"))
    run("compile", "tiny.frac")
    (place / "tiny" / "model.py").write_text("")
    (found,) = json.loads(run("check", "tiny", "tiny.frac", "--format", "json", code=1))
    assert found["file"] == "tiny" and "model.py was altered or truncated" in found["message"]


def test_info_counts_a_column_as_it_is(run, made: Path) -> None:
    facts = json.loads(run("info", str(made / "column"), "--json"))
    weights = sum(p.numel() for p in load_artifact(made / "column").parameters())
    assert (facts["column"], facts["fused"], facts["params"]) == (2, True, weights)
    assert run("info", str(made / "column")).startswith("column 2 of Tiny, batch norms folded\n")
    layers = json.loads(run("info", str(made / "column"), "--json", "--layers"))["layers"]
    assert sum(layer["params"] for layer in layers) == weights
    assert not any(layer["layer"] == "batchnorm2d" for layer in layers)


# --- refused


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("train column", 1, "`train` takes whole nets"),
        ("render column", 1, "`render` takes whole nets"),
        ("train run", 1, "`fractal-dsl train --resume run` resumes it"),
        ("train --resume tiny.frac", 1, "tiny.frac is a spec, not the folder of a training run"),
        ("report tiny.frac", 1, "tiny.frac is a spec, not the folder of a training run"),
        ("train --resume tiny", 1, "it is a compiled network, and `fractal-dsl train tiny` trains it"),
        ("eval tiny", 1, "it is a compiled network, and `fractal-dsl train tiny` trains it"),
        ("predict tiny x.npy", 1, "it is a compiled network, and `fractal-dsl train tiny` trains it"),
        ("compile tiny", 1, "is already compiled"),
        ("compile run --seed 3", 2, "a run has its own net, parameters and weights"),
        ("sweep tiny -p columns=1..2", 1, "give the .frac file"),
        ("fmt tiny", 1, "must not change"),
        ("fmt run/spec/tiny.frac", 1, "must not change"),
        ("info tiny -p columns=2", 2, "keeps its parameters"),
        ("render run -p columns=2", 2, "keeps its parameters"),
        ("plan tiny --net Other", 2, "use the .frac file for another net"),
        ("info tiny --max-layers 3", 1, "E0601"),
        ("info .", 1, "neither a compiled network nor a training run"),
        ("train .", 1, "neither a compiled network nor a training run"),
        ("info sweep", 1, "is a sweep: it has no trials yet"),
    ],
)
def test_what_makes_no_sense_is_told(
    run, made: Path, monkeypatch: pytest.MonkeyPatch, command: str, code: int, message: str
) -> None:
    monkeypatch.chdir(made)
    (made / "sweep").mkdir(exist_ok=True)
    (made / "sweep" / "sweep.json").write_text('{"format": "fractal_dsl sweep"}')
    before = {f: f.stat().st_mtime_ns for f in made.rglob("*")}
    assert message in run(*command.split(), code=code)
    assert {f: f.stat().st_mtime_ns for f in made.rglob("*")} == before


@pytest.mark.parametrize("command", ["info", "train", "render", "scaling", "compile"])
@pytest.mark.parametrize(
    "manifest", ["", "{", "[]", '{"format": 3}', '{"format": "fractal_dsl network"}', '{"format": "fractal_dsl run"}']
)
def test_broken_folders_are_told(run, place: Path, command: str, manifest: str) -> None:
    run("compile", "tiny.frac")
    (place / "tiny" / "manifest.json").write_text(manifest)
    assert "tiny" in run(command, "tiny", code=1)


def test_a_manifest_is_not_trusted_with_the_limit(run, place: Path) -> None:
    """Whoever writes a folder by hand can write its hash, too."""
    run("compile", "tiny.frac")
    manifest = json.loads((place / "tiny" / "manifest.json").read_text())
    write_manifest(place / "tiny", {**manifest, "max_layers": 10**9, "params": {"columns": 3}})
    assert "manifest.json is damaged" in run("info", "tiny", code=1)
    huge = TINY.replace("F[3](6)", "F[40](6)")
    (place / "tiny" / "spec" / "tiny.frac").write_text(huge)
    write_manifest(place / "tiny", {**manifest, "max_layers": 10**15})
    assert "the limit is 200,000" in run("info", "tiny", code=1)


def test_python_code_in_a_run_is_no_damage(run, made: Path, tmp_path: Path) -> None:
    """It was said not to compile any more."""
    folder = tmp_path / "run"
    folder.mkdir()
    for file in (made / "run").iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    (folder / "spec.frac").write_text(PYTHON)
    (folder / "params.json").write_text('{"params": {}, "net": "N"}')
    write_manifest(folder, json.loads((folder / "manifest.json").read_text()))
    printed = run("render", "run", code=1)
    assert "E0106" in printed and "--allow-python" in printed and "any more" not in printed


def test_fmt_passes_by_folders_of_ours(run, made: Path, place: Path) -> None:
    loose = TINY.replace(" = ", "  =  ")
    (place / "tiny.frac").write_text(loose)
    run("compile", "tiny.frac")
    assert run("fmt", ".") == "tiny.frac: formatted\n"
    assert (place / "tiny" / "spec" / "tiny.frac").read_text() == loose
    run("info", "tiny")


def test_play_shows_a_stored_spec_and_does_not_save_it(run, place: Path) -> None:
    run("compile", "tiny.frac")
    assert Documents(place / "tiny.frac").opened("given")["digest"]
    stored = Documents(place / "tiny" / "spec" / "tiny.frac")
    assert stored.opened("given")["text"] == TINY and stored.opened("given")["digest"] is None
    with pytest.raises(UserError, match="must stay as it was written"):
        stored.save("net N(x: f32[4]) -> f32[4] = id", "")


# --- help


@pytest.mark.parametrize("command", ["check", "info", "compile", "render", "train", "plan", "eval", "sweep", "fmt"])
def test_help_has_an_example_and_no_types_of_flags(run, command: str) -> None:
    printed = run(command, "--help")
    assert f"Example: fractal-dsl {command} " in printed
    assert "bool" not in printed
