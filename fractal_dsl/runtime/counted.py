"""The number of plans that a net has drawn, as part of its state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

STEP = "_extra_state"
"""Torch's name for the ``state_dict`` entry that holds a net's ``step``."""


class Counted(fx.GraphModule):
    """A net that counts the plans it draws in ``step``, and saves the count if it draws any."""

    step: int

    @property
    def draws(self) -> bool:
        """Whether training draws a plan for each step."""
        raise NotImplementedError

    def get_extra_state(self) -> Tensor:
        """The number of plans drawn. The ``state_dict`` of a net that draws plans holds it."""
        return torch.tensor(self.step)

    def set_extra_state(self, state: object) -> None:
        """Continue drawing plans from this count. ``torch.distributed`` passes a placeholder with weights alone."""
        if isinstance(state, Tensor):
            self.step = int(state)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if not self.draws:
            destination.pop(prefix + STEP)

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        if prefix + STEP in missing_keys:  # weights alone, such as those of an artifact
            missing_keys.remove(prefix + STEP)
