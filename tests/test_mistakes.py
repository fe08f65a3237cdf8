"""The commonest mistakes of people who come from PyTorch, Keras and Python, and what they are told.

``tests/golden/mistakes.test`` has the format of ``errors.test``; ``UPDATE_GOLDEN=1 pytest tests/test_mistakes.py``
writes it anew. Each message says what is wrong in the words of the spec, and what to type instead.
"""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from fractal_dsl.language.text_to_syntax import DECLARATIONS
from fractal_dsl.language.text_to_syntax.messages import STARTS
from fractal_dsl.ops import JOINS, LAYERS
from fractal_dsl.ops.foreign_python import nn_names
from fractal_dsl.program.syntax_to_program.aliases import ALIASES, FOREIGN_NAMES, NEEDLESS, TORCH
from tests import test_errors

GOLDEN = Path(__file__).parent / "golden" / "mistakes.test"
with patch.object(test_errors, "GOLDEN", GOLDEN):
    CASES = test_errors.cases()


def test_golden_file_is_up_to_date() -> None:
    with patch.object(test_errors, "GOLDEN", GOLDEN):
        test_errors.test_golden_file_is_up_to_date()


@pytest.mark.parametrize(("title", "text", "expected"), CASES, ids=[c[0] for c in CASES])
def test_mistakes_are_answered_as_written(title: str, text: str, expected: str) -> None:
    assert test_errors.printed(text) == expected


def test_there_are_fifty_of_them_and_each_is_told() -> None:
    assert len(CASES) >= 50
    assert not [title for title, _, expected in CASES if not expected]
    assert not {text for _, text, _ in CASES} & {text for _, text, _ in test_errors.cases()}


def test_words_of_others_have_no_meaning_here() -> None:
    words = {*DECLARATIONS, *LAYERS, *JOINS}
    assert not words & STARTS.keys()
    assert not words & FOREIGN_NAMES.keys()
    assert not {q.name for spec in LAYERS.values() for q in spec.params} & {*NEEDLESS}
    assert not words & TORCH.keys()
    assert {*TORCH.values()} <= {*nn_names()}
    assert {*ALIASES.values()} <= {q.name for spec in LAYERS.values() for q in spec.params}
