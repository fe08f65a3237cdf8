"""Error messages, as golden text: ``tests/golden/errors.test`` holds each case and what is printed.

``UPDATE_GOLDEN=1 pytest tests/test_errors.py`` writes the file anew; read the difference before you commit it.
"""

from __future__ import annotations

import difflib
import os
import random
from pathlib import Path
from typing import Any

import pytest

from fractal_dsl.language.diagnostics import CODES, MAX_REPORTED, FracError
from fractal_dsl.language.source import Source
from fractal_dsl.pipeline import check, compile_text
from fractal_dsl.program.literals import literal

GOLDEN = Path(__file__).parent / "golden" / "errors.test"


def cases() -> list[tuple[str, str, str]]:
    result: list[tuple[str, str, str]] = []
    for part in ("\n" + GOLDEN.read_text("utf-8")).split("\n== ")[1:]:
        title, _, rest = part.partition("\n")
        text, _, expected = rest.partition("\n--")
        result.append((title, text, expected.strip("\n")))
    return result


def printed(text: str) -> str:
    try:
        check(Source("spec.frac", text))
    except FracError as error:
        return str(error)
    return ""


def test_golden_file_is_up_to_date() -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text("".join(f"== {t}\n{text}\n--\n{printed(text)}".rstrip() + "\n" for t, text, _ in cases()))


@pytest.mark.parametrize(("title", "text", "expected"), cases(), ids=[c[0] for c in cases()])
def test_errors_are_as_written(title: str, text: str, expected: str) -> None:
    assert printed(text) == expected


def test_error_as_json_has_its_place() -> None:
    with pytest.raises(FracError) as caught:
        check(Source("spec.frac", "# é\nnet N(x: f32[8]) -> f32[8] =\n  linaer(8)\n"))
    assert [d.json() for d in caught.value.diagnostics] == [
        {
            "code": "E0201",
            "severity": "error",
            "message": "unknown name `linaer`",
            "file": "spec.frac",
            "line": 3,
            "column": 3,
            "end_line": 3,
            "end_column": 9,
            "help": "did you mean `linear`?",
            "trail": ["net N"],
        }
    ]


def test_every_error_in_the_golden_file_has_a_code() -> None:
    shown = {
        line.split("]")[0].removeprefix("error[") for _, _, e in cases() for line in e.splitlines() if "[E" in line
    }
    assert {c for c in shown if c.startswith("E")} <= CODES.keys()


def test_size_is_refused_before_anything_is_expanded() -> None:
    text = """
    rule F join mean { F[1] = linear(8)  F[n+1] = F[n] >> F[n] | linear(8) }
    rule G join mean { G[1] = id  G[n+1] = G[n] | G[n] }
    net N(x: f32[8]) -> f32[8] = F[60]
    net M(x: f32[8]) -> f32[8] = G[60]
    """
    message = printed(text)
    assert "net `N` would have about 1.1e18 base layers; the limit is 200,000" in message
    assert "net `M` would have about 5.7e17 layers" in message


def test_deep_levels_and_long_chains_compile() -> None:
    text = """
    rule P { P[1] = linear(8)  P[n+1] = P[n] >> linear(8) }
    net N(x: f32[8]) -> f32[8] = P[256] >> linear(8) ** 2000
    """
    assert compile_text(text).summary.weighted_depth == 2256


@pytest.mark.parametrize("seed", range(150))
def test_no_broken_text_gives_anything_but_diagnostics(seed: int) -> None:
    """Examples with characters and words dropped, doubled and swapped."""
    rng = random.Random(seed)
    files = sorted((Path(__file__).parent.parent / "examples").glob("*.frac"))
    text = rng.choice(files).read_text("utf-8")
    for _ in range(rng.randint(1, 6)):
        at, length = rng.randrange(len(text)), rng.choice([1, 1, 1, 5, 40])
        piece = rng.choice(
            ["", text[at : at + length] * 2, rng.choice("()[]{}|>=*+-%@\"',.:é0"), " join ", "999999999"]
        )
        text = text[:at] + piece + text[at + length :]
    printed(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000,
        "let x = " + "-" * 50_000 + "1",
        "let x = " + "1+" * 50_000 + "1",
        "let x = " + "[" * 5000,
        '"' * 999,
        "net N(x: f32[8]) -> f32[8] = " + " >> ".join(["id"] * 20_000),
        "a" * 500_000,
        "let a" * 10_000,
        "9" * 900_000,
        "let x = 2 ** 2 ** 2 ** 2 ** 2 ** 2",
        "let x = (-1) ** 0.5",
        "let x = 1e308 * 10",
        "let x = 10 ** 400 * 1.0",
    ],
)
def test_monstrous_texts_are_answered(text: str) -> None:
    printed(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("join J = mean\nnet N(x: f32[4]) -> f32[4] = id >> J", "E0301"),
        ("join J = mean\nnet N(x: f32[4]) -> f32[4] = J", "E0301"),
        ("param w: [int]\nnet N(x: f32[len(w)]) -> f32[4] = linear(4)", "E0205"),
    ],
    ids=["a join in a flow", "a join as a net", "a size that is not known"],
)
def test_what_once_crashed_is_reported(text: str, code: str) -> None:
    with pytest.raises(FracError) as caught:
        check(Source("spec.frac", text))
    assert [d.code for d in caught.value.diagnostics] == [code]


def test_a_block_on_the_command_line_is_a_text() -> None:
    assert literal("[conv2d]", "--set") == "[conv2d]"


def test_what_is_not_shown_is_counted() -> None:
    with pytest.raises(FracError, match=r"\n\n3 more errors are not shown$") as caught:
        check(Source("spec.frac", "\n".join(f"let a{i} = b{i}" for i in range(MAX_REPORTED + 3))))
    assert (len(caught.value.diagnostics), caught.value.cut) == (MAX_REPORTED, 3)


def test_a_net_that_is_not_there_has_its_code() -> None:
    with pytest.raises(FracError, match=r"the file has no net `M`\n.*\n.*the nets are Alpha, Beta") as caught:
        compile_text("net Alpha(x: f32[8]) -> f32[8] = id\nnet Beta(x: f32[8]) -> f32[8] = id", net="M")
    assert [d.code for d in caught.value.diagnostics] == ["E0207"]


def test_lists_of_blocks_are_branches() -> None:
    text = """
    layer both(bs: [block]) = sum(bs)
    rule F(b: block) join mean { F[1] = sum([b, linear(4)])  F[n+1] = F[n] | b }
    net N(x: f32[4]) -> f32[4] = both([linear(4), id]) >> F[2](linear(4))
    """
    assert compile_text(text).summary.joins == {2: 3}


def test_a_default_that_needs_its_layer_is_told() -> None:
    assert "E0407" in printed("layer a(b: block = a) = b\nnet N(x: f32[4]) -> f32[4] = a")


MANY = {
    "names": "".join(f"let a{i} = unknown{i}\n" for i in range(9000)),
    "names of files": "".join(f'import "std:cnm{i}" as m{i}\n' for i in range(9000)),
    "settings": "train {\n" + "".join(f"epoch{i} = 1\n" for i in range(9000)) + "}",
    "names of arguments": "".join(f"let a{i} = conv2d(8, 3, kernel_siz{i}=1)\n" for i in range(2500)),
    "values of arguments": "".join(f'let a{i} = conv2d(8, 3, padding_mode="zero{i}")\n' for i in range(2500)),
    "types": "".join(f"layer a{i}(x: inn{i}) = relu\n" for i in range(3500)),
    "names of an import": 'import "std:cnn" as m\n' + "".join(f"let a{i} = m.konv{i}\n" for i in range(6000)),
    "imported names": 'from "std:cnn" import ' + ", ".join(f"konv{i}" for i in range(9000)),
    "annotations": "".join(f"let a{i} = relu @tog{i}\n" for i in range(6000)),
    "layers of torch": "".join(f"let a{i} = nn.Hardswosh{i}\n" for i in range(6000)),
}


@pytest.mark.parametrize("text", MANY.values(), ids=MANY)
def test_suggestions_are_computed_only_for_errors_that_are_shown(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[str] = []
    real = difflib.get_close_matches

    def counted(name: str, *args: Any, **kwargs: Any) -> list[str]:
        computed.append(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    with pytest.raises(FracError) as caught:
        check(Source("many.frac", f"{text}\nnet N(x: f32[8]) -> f32[8] = id\n"))
    assert len(caught.value.diagnostics) == MAX_REPORTED and caught.value.cut > 1000
    assert all(isinstance(d.help, str | None) for d in caught.value.diagnostics)
    assert len(computed) <= MAX_REPORTED
