"""How far outputs are from those of a teacher (Hinton, Vinyals and Dean 2015, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def class_divergence(output: Tensor, teacher: Tensor, temperature: float, axis: int = 1) -> Tensor:
    """The divergence of an output's classes from a teacher's, in nats: [batch, …] without the axis of the classes.

    It is KL(teacher ‖ output) of the softmax of the logits divided by the temperature T. A high T shows how likely the
    teacher thinks the wrong classes are. The factor T² keeps the gradients as large as without T.
    """
    ours, theirs = ((logits.float() / temperature).log_softmax(axis) for logits in (output, teacher))
    return F.kl_div(ours, theirs, reduction="none", log_target=True).sum(axis) * temperature**2


def label_divergence(output: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """The same for labels, of which each is a choice between two classes: [batch, labels] to [batch, labels]."""
    ours, theirs = (torch.stack([logits, torch.zeros_like(logits)], 1) for logits in (output, teacher))
    return class_divergence(ours, theirs, temperature)
