"""Training with the processes that torchrun started.

In: a net, settings, and the processes. Out: a training step whose work the processes share, and their checkpoints.
Not imported here: ``deploy`` and above.
"""

from __future__ import annotations

from typing import Literal

ParallelKind = Literal["ddp", "fsdp", "pipeline"]
"""How processes share the work: mini-batches, mini-batches and weights, or stretches of the net."""
