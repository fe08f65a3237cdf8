"""Coverage-guided fuzzing of ``check`` and ``fmt`` on mutated examples, by atheris.

    python tests/fuzz.py -max_total_time=600          # libFuzzer's options; `pip install atheris`

Whatever the text, there are diagnostics or a result: no other exception, no run over 2 seconds, no more than 512 MB.
A text that breaks this is written to the current folder; put it into tests/corpus, which tests/test_fuzz.py replays.
"""

from __future__ import annotations

import contextlib
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fractal_dsl"]):
    from fractal_dsl.language.diagnostics import FracError
    from fractal_dsl.language.source import Source
    from fractal_dsl.language.syntax_to_text import syntax_to_text
    from fractal_dsl.language.text_to_syntax import KEYWORDS
    from fractal_dsl.ops import JOINS, LAYERS
    from fractal_dsl.pipeline import check, parse

SECONDS = 2.0
MEGABYTES = 512
HERE = Path(__file__).parent
WORDS = [
    *(HERE / "corpus" / "words.txt").read_text("utf-8").splitlines(),
    *(f" {word} " for word in sorted(KEYWORDS)),
    *(f"{name}(" for name in sorted({*LAYERS, *JOINS})),
    *(f" >> {name} " for name in sorted(LAYERS)),
]
"""Words of the tests' own, and every keyword, layer and join of the language."""


def run(text: str) -> None:
    """Check and format a text; raises what users must never see."""
    source = Source("spec.frac", text)
    start = time.process_time()
    with contextlib.suppress(FracError):
        check(source)
    try:
        formatted = syntax_to_text(parse(source))
        if syntax_to_text(parse(Source("spec.frac", formatted))) != formatted:
            raise AssertionError("the formatted text is no fixed point")
    except FracError:
        pass
    spent = time.process_time() - start
    if spent > SECONDS:
        raise AssertionError(f"{spent:.1f} s")
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > MEGABYTES * 1024:
        raise AssertionError(f"over {MEGABYTES} MB")


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Half of the time libFuzzer's own mutation, else a word of the language put in, doubled or swapped."""
    rng = random.Random(seed)
    if rng.random() < 0.4:
        return atheris.Mutate(data, max_size)
    text = data.decode("utf-8", "ignore")
    at = rng.randrange(len(text) + 1)
    length = rng.choice([0, 0, 1, 3, 12, 40])
    piece = rng.choice([rng.choice(WORDS), text[at : at + length] * 2, ""])
    return (text[:at] + piece + text[at + length :]).encode()[:max_size]


def test_one(data: bytes) -> None:
    """What libFuzzer calls."""
    run(data.decode("utf-8", "ignore").replace("\0", " "))


def main() -> None:
    """Fuzz, beginning with the examples and the standard library."""
    root = HERE.parent
    with tempfile.TemporaryDirectory() as corpus:
        places = ("examples/*.frac", "examples/zoo/*.frac", "fractal_dsl/language/std/*.frac", "tests/corpus/*.frac")
        for file in [file for place in places for file in root.glob(place)]:
            (Path(corpus) / f"{file.parent.name}-{file.name}").write_bytes(file.read_bytes())
        atheris.Setup([*sys.argv, corpus, "-max_len=4000", "-timeout=20"], test_one, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
