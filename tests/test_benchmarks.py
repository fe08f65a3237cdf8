"""The benchmarks of training steps run, and every ratio with a goal is among what they print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_training_steps_are_measured(tmp_path: Path) -> None:
    file = tmp_path / "steps.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "train_step.py"), "--quick", "--net", "C = 4"]
    parts = ["whole", "columns", "mixed", "inference"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--only", *parts, "--json", str(file)], check=True, capture_output=True, text=True, env=environment
    )
    (measured,) = json.loads(file.read_text()).values()
    assert list(measured) == parts
    goals = {part: [row["title"] for row in measured[part]["ratios"] if row["goal"]] for part in parts}
    assert len(goals["whole"]) == 5 and len(goals["columns"]) == 8 and goals["mixed"] == ["mixed / sparse naive"]
    assert all(row["ratio"] > 0 for part in parts for row in measured[part]["ratios"])
    assert "goal 0.970" in done.stdout
    shown = subprocess.run([*command[:2], "--table", str(file)], check=True, capture_output=True, text=True)
    assert shown.stdout.count("\n") == 2 + sum(len(measured[part]["ratios"]) for part in parts)
