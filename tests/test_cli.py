"""The command line as users meet it: what it prints, what it writes, how it fails."""

from __future__ import annotations

import json
import os
import pickle
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fractal_dsl import pipeline
from fractal_dsl.base.texts import aligned
from fractal_dsl.cli import main
from fractal_dsl.cli.commands import COMMANDS, PANELS
from fractal_dsl.config import ConfigError, parse_config
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.pipeline import Stage, compile_text

EXAMPLES = Path(__file__).parent.parent / "examples"
DIGITS = str(EXAMPLES / "digits.frac")


class Ran:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*args: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["fractal-dsl", *map(str, args)])
        code = 0
        try:
            main()
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else int(bool(exit.code))
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        assert "internal error" not in captured.err
        return Ran(code, captured.out, captured.err)

    return run


def in_process(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    command = [sys.executable, "-m", "fractal_dsl", *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=120, check=False)


# --- the paper's figures

TABLE = [
    (1, 5, 258_292),
    (2, 10, 847_716),
    (3, 20, 2_125_204),
    (4, 40, 4_778_820),
    (5, 80, 10_184_692),
    (6, 160, 21_095_076),
]


@pytest.mark.parametrize(("columns", "depth", "params"), TABLE)
def test_ultra_deep_nets_of_the_paper(run, columns: int, depth: int, params: int) -> None:
    result = json.loads(run("info", EXAMPLES / "fractalnet_deep.frac", "-p", f"columns={columns}", "--json").out)
    assert (result["depth"], result["params"]) == (depth, params)
    assert [c["depth"] for c in result["columns"]] == [5 * 2**k for k in range(columns)]
    assert result["columns"][-1]["params"] < params or columns == 1


@pytest.mark.parametrize(("columns", "depth", "params"), TABLE)
def test_ultra_deep_nets_compiled(columns: int, depth: int, params: int) -> None:
    import torch

    from fractal_dsl import build, compile_file

    model = build(compile_file(EXAMPLES / "fractalnet_deep.frac", {"columns": str(columns)}), device="meta")
    assert sum(p.numel() for p in model.parameters()) == params
    convolutions = [m for m in model.column(columns).modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == depth
    assert sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Conv2d)) == {
        1: 244_656, 2: 832_608, 3: 2_107_152, 4: 4_754_880, 5: 10_148_976, 6: 21_035_808,
    }[columns]  # fmt: skip


def test_fractalnet20(run) -> None:
    result = json.loads(run("info", EXAMPLES / "fractalnet20_cifar.frac", "--json").out)
    assert result == {
        "net": "FractalNet20",
        "input_shape": [3, 32, 32],
        "output_shape": [10],
        "params": 33_724_618,
        "macs": 845_222_912,
        "base_layers": 35,
        "depth": 20,
        "weighted_layers": 36,
        "weighted_depth": 21,
        "joins_raw": 15,
        "joins": {"2": 5, "3": 5},
        "paths": 5**5,
        "columns": [
            {"column": 1, "depth": 5, "params": 3_917_386, "macs": 67_834_880},
            {"column": 2, "depth": 10, "params": 9_413_066, "macs": 228_267_008},
            {"column": 3, "depth": 20, "params": 20_404_426, "macs": 549_131_264},
        ],
    }


def test_fractalnet34(run) -> None:
    result = json.loads(run("info", EXAMPLES / "fractalnet34_imagenet.frac", "--json").out)
    assert result["weighted_depth"] == 34
    assert result["joins"] == {"2": 8, "3": 4, "4": 4}


def test_info_keeps_big_numbers_exact(run) -> None:
    result = run("info", EXAMPLES / "fractalnet_deep.frac", "-p", "columns=12", "--json")
    twelve = 1
    for _ in range(11):
        twelve = twelve**2 + 1
    assert json.loads(result.out)["paths"] == twelve**5


def test_info_for_people(run) -> None:
    out = run("info", DIGITS).out
    assert "net Digits" in out and "joins, collapsed" in out and out.splitlines()[-1].split()[0] == "3"


def test_depth_without_rules_is_in_weighted_layers(run, tmp_path: Path) -> None:
    out = run("info", EXAMPLES / "resnet18.frac").out
    assert "weighted depth    18" in out and "base layers" not in out and "column" not in out
    assert "weighted depth 18" in run("compile", EXAMPLES / "resnet18.frac", "-o", tmp_path / "net").out


LAYERED = ["digits", "resnet18", "unet", "transformer", "googlenet"]


@pytest.mark.parametrize("name", LAYERED)
def test_each_layer_has_the_shape_and_parameters_of_its_module(run, name: str) -> None:
    import torch

    from fractal_dsl import build, compile_file

    facts = json.loads(run("info", EXAMPLES / f"{name}.frac", "--layers", "--json").out)
    layers = {layer["name"]: layer for layer in facts["layers"]}
    assert sum(layer["params"] for layer in layers.values()) == facts["params"]
    assert sum(layer["macs"] for layer in layers.values()) == facts["macs"]
    compiled = compile_file(EXAMPLES / f"{name}.frac")
    model = build(compiled, device="meta")
    shapes: dict[str, list[int]] = {}
    for path, module in model.named_modules():
        if path in layers:
            module.register_forward_hook(lambda _, __, out, path=path: shapes.update({path: list(out.shape[1:])}))
            assert layers[path]["params"] == sum(p.numel() for p in module.parameters())
    _, taken = compiled.graph.input
    model(
        torch.zeros(
            2, *taken.out.shape, dtype=getattr(torch, {"f32": "float32"}.get(taken.out.dtype, "int64")), device="meta"
        )
    )
    assert shapes and all(layers[path]["output_shape"] == shape for path, shape in shapes.items())


def test_shared_weights_count_at_their_first_layer(run, tmp_path: Path) -> None:
    (tmp_path / "s.frac").write_text(
        "shared enc = linear(8) >> relu\nnet N(x: f32[8]) -> f32[8] = enc >> enc >> linear(8)\n"
    )
    first, _, again, *_ = json.loads(run("info", tmp_path / "s.frac", "--layers", "--json").out)["layers"]
    assert (first["params"], again["params"], first["weights_of"], again["weights_of"]) == (
        72,
        0,
        "enc.linear",
        "enc.linear",
    )
    assert "of enc.linear" in run("info", tmp_path / "s.frac", "--layers").out


# --- what it does


@pytest.mark.parametrize("spec", sorted(EXAMPLES.glob("*.frac")), ids=lambda p: p.stem)
def test_examples_check(run, spec: Path) -> None:
    result = run("check", spec)
    assert (result.code, result.err) == (0, "")


def test_check_reports_all_files(run, tmp_path: Path) -> None:
    (tmp_path / "a.frac").write_text("let a = b")
    (tmp_path / "c.frac").write_text("let c = d")
    result = run("check", tmp_path / "a.frac", DIGITS, tmp_path / "c.frac", tmp_path / "missing.frac")
    assert result.code == 1
    assert "digits.frac: ok (Digits)" in result.out
    assert "unknown name `b`" in result.err and "unknown name `d`" in result.err
    assert "there is no such file" in result.err and "3 errors" in result.err


def test_check_as_json(run, tmp_path: Path) -> None:
    good = run("check", DIGITS, "--format", "json")
    assert (good.code, json.loads(good.out)) == (0, [])
    (tmp_path / "a.frac").write_text("let a = b")
    bad = run("check", tmp_path / "a.frac", "--format", "json")
    assert bad.code == 1
    keys = ["code", "severity", "message", "file", "line", "column", "end_line", "end_column", "help", "trail"]
    assert [list(d) for d in json.loads(bad.out)] == [keys]


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_can_be_seen(run, stage: Stage) -> None:
    result = run("compile", DIGITS, "--emit", stage)
    assert result.code == 0 and len(result.out.splitlines()) > 5
    if stage in ("raw", "collapsed", "labelled"):
        assert result.out.startswith(f"{stage} graph of Digits: ")


def test_the_program_has_a_line_for_each_level(run) -> None:
    lines = run("compile", DIGITS, "--emit", "program").out.splitlines()
    assert lines[0] == "program of Digits: f32[1, 8, 8] -> f32[10]"
    assert lines[6] == "%6 = F[3] join mean: (%4 >> %4 | %5)"
    assert lines[-1].startswith("net = (%6).each(maxpool2d(")
    deep = run("compile", EXAMPLES / "fractalnet_deep.frac", "-p", "columns=12", "--emit", "program").out
    assert len(deep.splitlines()) < 200


def test_the_pipeline_lists_the_stages_in_order() -> None:
    listed = re.findall(r"^    (\w+) +\w+/", pipeline.__doc__ or "", re.MULTILINE)
    assert listed == list(Stage)


def test_two_graphs_before_and_after_collapse(run) -> None:
    raw = [line for line in run("compile", DIGITS, "--emit", "raw").out.splitlines() if " join " in line]
    collapsed = [line for line in run("compile", DIGITS, "--emit", "collapsed").out.splitlines() if " join " in line]
    assert len(raw) == 9 and all(line.split(" -> ")[0].count(" %") == 2 for line in raw)
    assert len(collapsed) == 6


def test_compile_then_extract(run, tmp_path: Path) -> None:
    assert run("compile", DIGITS, "-o", tmp_path / "net", "-p", "columns=2").code == 0
    result = run("extract", tmp_path / "net", "--column", "2", "-o", tmp_path / "plain")
    assert result.code == 0, result.err
    assert "column2" in (tmp_path / "plain" / "model.py").read_text()
    again = run("extract", tmp_path / "plain", "--column", "1", "-o", tmp_path / "again")
    assert (again.code, "is already a column" in again.err) == (1, True)


# --- how it fails


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["check", "nowhere.frac"], "there is no such file"),
        (["info", DIGITS, "-p", "colums=3"], "did you mean `columns`?"),
        (["info", DIGITS, "-p", "columns=9"], "`columns` must be in 1..6, found 9"),
        (["info", DIGITS, "-p", "columns=2.5"], "`columns` must be int, found float"),
        (["info", DIGITS, "-p", "columns=many"], "`columns` must be int, found `many`"),
        (["info", DIGITS, "--net", "Digit"], "did you mean `Digits`?"),
        (["info", DIGITS, "--max-layers", "20"], "21 base layers; the limit is 20"),
        (["extract", "nowhere", "--column", "1", "-o", "x"], "nowhere"),
        (["eval", "nowhere"], "nowhere"),
        (["compile", DIGITS, "-o", "/proc/none/net"], "cannot write"),
        (["render", DIGITS, "-o", "/proc/none/net.dot"], "cannot write"),
        (["train", DIGITS, "--set", "optimizer.rate=1"], "unknown setting `rate`"),
        (["train", DIGITS, "--set", "optimizer.lr=fast"], "number"),
        (["train", str(EXAMPLES / "fractalnet20_cifar.frac")], "cifar10"),
    ],
)
def test_bad_input_is_told_and_exits_with_1(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*args)
    assert (result.code, result.out) == (1, "")
    assert message in result.err
    assert list(tmp_path.iterdir()) == [], "nothing half-written"


@pytest.mark.parametrize(
    "args",
    [
        ["check"],
        ["inof", DIGITS],
        ["info", DIGITS, "--nett", "x"],
        ["info", DIGITS, "-p", "columns"],
        ["info", DIGITS, "-p", "columns=2", "-p", "columns=3"],
        ["compile", "-"],
        ["render", "-"],
        ["compile", DIGITS, "-o", "net", "--emit", "dot"],
        ["compile", DIGITS, "--emit", "everything"],
        ["train", DIGITS, "--epochs", "none"],
    ],
)
def test_wrong_usage_exits_with_2(run, args: list[str]) -> None:
    assert run(*args).code == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["render", DIGITS, "--view", "all"], "'--view': 'all' is not one of 'net', 'block', 'rule', 'figure'."),
        (["render", DIGITS, "--block", "0"], "'--block': must be at least 1, found 0"),
        (["render", DIGITS, "--block", "one"], "'--block': must be a whole number, found one"),
        (["train", DIGITS, "--lr", "fast"], "'--lr': must be a number, found fast"),
        (["play", "--port", "70000"], "'--port': must be at most 65535, found 70000"),
    ],
)
def test_wrong_values_are_told_in_plain_words(run, args: list[str], said: str) -> None:
    done = run(*args)
    assert done.code == 2 and done.err.endswith(f"Invalid value for {said}\n")


def test_huge_nets_and_random_bytes_are_refused_at_once(tmp_path: Path) -> None:
    """Well under a second of CPU each: the bound here is loose, for this is no benchmark."""
    spec = tmp_path / "huge.frac"
    spec.write_text((EXAMPLES / "fractalnet_deep.frac").read_text().replace("1..12", "1..99"))
    noise = tmp_path / "noise.frac"
    noise.write_bytes(bytes((i * 7919 + i // 251) % 256 for i in range(200_000)))
    for args, message in (
        (["info", str(spec), "-p", "columns=60"], "about 5.7e18 base layers; the limit is 200,000"),
        (["check", str(noise)], "not UTF-8 text"),
    ):
        start = time.perf_counter()
        result = in_process(*args)
        assert (result.returncode, message in result.stderr, result.stdout) == (1, True, "")
        assert time.perf_counter() - start < 20


def test_commands_on_specs_do_not_import_torch(tmp_path: Path) -> None:
    """A finder that refuses torch stands in the way; `compile -o` runs into it, which shows that it works."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch': raise ImportError('torch is not to be imported')\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{EXAMPLES.parent}"}

    def code(*args: str) -> int:
        command = [sys.executable, "-m", "fractal_dsl", *args]
        return subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False).returncode

    assert code("check", DIGITS) == 0
    assert code("info", DIGITS) == 0
    assert code("render", DIGITS, "-o", str(tmp_path / "x.dot")) == 0
    assert code("compile", DIGITS, "--emit", "labelled") == 0
    assert code("compile", DIGITS, "-o", str(tmp_path / "net")) == 1


def test_output_into_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m fractal_dsl compile {DIGITS} --emit labelled | head -1"
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    result = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment, check=False)
    assert result.stderr == "" and "labelled graph" in result.stdout


def test_what_a_review_found(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("info", DIGITS, "-p", "columns=").code == 1
    assert run("train", DIGITS, "--set", "optimizer.lr=").code == 1
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "c.frac").write_text(
        "net Модель(self: f32[3]) -> f32[3] = linear(3)\nnet A(class: f32[3]) -> f32[3] = id"
    )
    for net in ("Модель", "A"):
        assert run("compile", tmp_path / "c.frac", "--net", net, "--emit", "fx").code == 0
    assert "class Модель(nn.Module)" in run("compile", tmp_path / "c.frac", "--net", "Модель", "--emit", "source").out
    assert run("compile", DIGITS, "-o", "net").code == 0
    (tmp_path / "net" / "notes").mkdir()
    (tmp_path / "net" / "notes" / "a.txt").write_text("mine")
    lost = run("compile", DIGITS, "-o", "net")
    assert lost.code == 1 and "notes/a.txt" in lost.err
    (tmp_path / "long.frac").write_text("x" * 900_000)
    assert len(run("check", tmp_path / "long.frac").err) < 5000


def test_a_run_that_fails_at_once_leaves_nothing(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fractal_dsl.training import train

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "_fit", broken)
    assert run("train", DIGITS, "--out", tmp_path / "run").code == 130
    assert list(tmp_path.iterdir()) == []


_HEAVY = "torch numpy networkx rich markdown_it regex interegular matplotlib"


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--version"], "pydantic lark fractal_dsl.pipeline"),
        (["--help"], "pydantic lark fractal_dsl.pipeline fractal_dsl.cli.specs"),
        (["check", "--help"], "pydantic"),
        (["check", "{untrained}"], "pydantic fractal_dsl.config fractal_dsl.stored fractal_dsl.graph tomllib shlex"),
        (["check", "{untrained}", "--allow-python"], "pydantic"),
        (["check", DIGITS], "fractal_dsl.stored fractal_dsl.graph"),
        (["info", DIGITS], "pydantic fractal_dsl.config fractal_dsl.graph"),
        (["fmt", "--check", DIGITS], "pydantic fractal_dsl.config fractal_dsl.graph"),
        (["explain", "E0501"], "pydantic fractal_dsl.config fractal_dsl.graph"),
        (["render", DIGITS, "-o", "-", "--view", "rule"], "fractal_dsl.config"),
        (["completion", "bash"], ""),
    ],
)
def test_a_command_imports_only_what_it_needs(arguments: list[str], absent: str, tmp_path: Path) -> None:
    untrained = tmp_path / "net.frac"
    untrained.write_text("net N(x: f32[8]) -> f32[2] = linear(2)\n")
    arguments = [argument.format(untrained=untrained) for argument in arguments]
    assert not _loaded(arguments, [*_HEAVY.split(), *absent.split()])


def test_a_command_imports_networkx_to_build_a_graph() -> None:
    assert _loaded(["render", DIGITS, "-o", "-"], ["networkx", "torch"]) == ["networkx"]


def _loaded(arguments: list[str], names: list[str]) -> list[str]:
    """Which modules of these names a command imports."""
    code = "import sys; from fractal_dsl.cli import main\n"
    code += "try: main()\nexcept SystemExit as end: assert not end.code\n"
    code += f"print(*[name for name in {names} if name in sys.modules], file=sys.stderr)"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr.split()


@pytest.mark.parametrize("words", [["a\tb.frac"], ["\x1b[31m.frac"], ["é 漢字.frac"], ["a.frac", "b.frac"]])
def test_texts_of_the_command_line_arrive_as_they_are(run, words: list[str], tmp_path: Path) -> None:
    places = [tmp_path / word for word in words]
    for place in places:
        place.write_text("net N(x: f32[8]) -> f32[2] = linear(2)\n")
    ran = run("check", *places)
    assert (ran.code, ran.out.count(": ok (N)")) == (0, len(words))


def test_another_user_of_lark_keeps_its_options() -> None:
    """Only the command line hides libraries from lark; importing the package hides nothing."""
    code = "import fractal_dsl.pipeline, sys; assert 'interegular' in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- scaling


def test_scaling_tells_the_cost_of_a_step_by_processes(run) -> None:
    rows = json.loads(run("scaling", DIGITS, "-n", "1,2,4", "--batch", "32", "--json").out)
    assert [row["processes"] for row in rows] == [1, 2, 4]
    assert [row["GMACs"] / rows[0]["GMACs"] for row in rows] == [1, 0.5, 0.25]
    assert rows[0]["MB sent"] == 0 < rows[1]["MB sent"] < rows[2]["MB sent"]
    shown = run("scaling", DIGITS, "--batch", "6").out.splitlines()  # of the usual numbers, those that divide 6
    assert [line.split()[0] for line in shown] == ["processes", "1", "2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", "x"], "is not a list of numbers such as 1,8,64"),
        (["-n", "0"], "is not a list of numbers such as 1,8,64"),
        (["-n", "3", "--batch", "32"], "make `batch` a multiple of 3"),
        (["-n", "2", "--batch", "32", "--accumulate", "3"], "make `batch` a multiple of 6"),
        (["-n", "50", "--parallel", "pipeline"], "can be cut into"),
        (["--parallel", "foo"], "pipeline"),
    ],
)
def test_scaling_refuses_what_training_would_refuse(run, arguments: list[str], message: str) -> None:
    ran = run("scaling", DIGITS, *arguments)
    assert ran.code
    assert message in " ".join(ran.err.replace("│", "").split())


# --- the end of a process


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_is_an_error(unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "fractal_dsl", "check", DIGITS],
            stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False,
        )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (1, "error: No space left on device\n")


@pytest.mark.parametrize(
    ("arguments", "closed", "expected"),
    [
        (["check", DIGITS], ">&-", (0, "")),
        (["info", DIGITS, "--json"], ">&-", (0, "")),
        (["check", "-"], "<&-", (1, "error: standard input is closed: give a file\n")),
    ],
)
def test_streams_may_be_closed(arguments: list[str], closed: str, expected: tuple[int, str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    command = shlex.join([sys.executable, "-m", "fractal_dsl", *arguments])
    ran = subprocess.run(
        ["sh", "-c", f"{command} {closed}"], stderr=subprocess.PIPE, text=True, env=environment, check=False
    )
    assert (ran.returncode, ran.stderr) == expected


def test_little_is_imported_before_ctrl_c_is_looked_after() -> None:
    code = "import sys; from fractal_dsl.cli import main; "
    code += "print(*{'typing', 'msgspec', 'typer', 'lark'} & sys.modules.keys())"
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    ran = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert ran.stdout == "\n"


def test_errors_go_from_process_to_process() -> None:
    for wrong in (lambda: compile_text("net N(x: f32[3]) -> f32[4] = relu"), lambda: parse_config({"epochs": 0})):
        with pytest.raises((FracError, ConfigError)) as told:
            wrong()
        again = pickle.loads(pickle.dumps(told.value))
        assert (type(again), str(again)) == (told.type, str(told.value))


# --- help, and tables


def test_check_looks_for_specs_in_a_folder(run, tmp_path: Path) -> None:
    """A file that another one imports is checked with it: its parameters may have no values of their own."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "main.frac").write_text('from "parts/a.frac" import l\nnet N(x: f32[8]) -> f32[8] = l\n')
    (tmp_path / "parts" / "a.frac").write_text('import "../base.frac" as base\nlayer l = base.k(8)\n')
    (tmp_path / "base.frac").write_text("param depth: int\nlayer k(w: int) = linear(w)\n")
    (tmp_path / ".hidden.frac").write_text("nonsense")
    ran = run("check", tmp_path)
    assert (ran.code, ran.err) == (0, "")
    parts = [
        f"{tmp_path}/{name}: checked with {tmp_path}/main.frac, which imports it"
        for name in ("base.frac", "parts/a.frac")
    ]
    assert ran.out.splitlines() == [parts[0], f"{tmp_path}/main.frac: ok (N)", parts[1]]
    (tmp_path / "base.frac").write_text("layer k(w: int) = linaer(w)\n")
    ran = run("check", tmp_path)
    assert (ran.code, ran.err.count("E0201")) == (1, 1)


def test_check_reports_files_that_import_each_other(run, tmp_path: Path) -> None:
    (tmp_path / "a.frac").write_text('import "b.frac" as b\n')
    (tmp_path / "b.frac").write_text('import "a.frac" as a\n')
    ran = run("check", tmp_path)
    assert ran.code == 1 and "E0802" in ran.err


def test_check_says_that_a_folder_has_no_specs(run, tmp_path: Path) -> None:
    ran = run("check", tmp_path)
    assert (ran.code, ran.err) == (0, f"{tmp_path}: no .frac files found\n")


def test_help_groups_the_commands(run) -> None:
    shown = run("--help").out
    places = [shown.index(f"\n{panel}:\n") for panel in PANELS]
    assert places == sorted(places) and "Show the version and exit." in shown
    assert all(
        re.search(rf"^  {name} +{re.escape(entry.summary[:30])}", shown, re.M) for name, entry in COMMANDS.items()
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_each_help_begins_with_its_summary_and_has_an_example(run, command: str) -> None:
    shown = " ".join(run(command, "--help").out.split())
    assert f" {COMMANDS[command].summary} " in shown
    assert f"Example: fractal-dsl {command}" in shown
    assert "bool" not in shown.lower()


@pytest.mark.parametrize("arguments", [["info", "--nett", "x"], ["info", "--help"], ["--help"]])
def test_usage_and_help_are_plain_texts(arguments: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "FORCE_COLOR": "1"}
    command = [sys.executable, "-m", "fractal_dsl", *arguments]
    ran = subprocess.run(command, capture_output=True, env=environment, timeout=120, check=False)
    assert ran.stdout + ran.stderr and b"\x1b" not in ran.stdout + ran.stderr


def test_tables_align_wide_characters_too() -> None:
    rows = [("", "漢字", "c"), ("name", "1", "x y"), ("é", "1,000", "")]
    assert aligned(rows, "<><") == ["       漢字  c", "name      1  x y", "é     1,000"]
    assert aligned(rows, ">") == ["       漢字    c", "name      1  x y", "   é  1,000"]
