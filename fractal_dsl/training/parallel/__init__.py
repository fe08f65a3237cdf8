"""Training with the processes that torchrun started."""

from __future__ import annotations

from typing import Literal

ParallelKind = Literal["ddp", "fsdp", "pipeline"]
"""How processes share the work: mini-batches, mini-batches and weights, or stretches of the net."""
