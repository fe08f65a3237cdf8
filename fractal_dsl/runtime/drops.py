"""Drop-path and branches with ``@drop`` in ``model.py``, which contains the source of the functions that it needs.

``keep`` has a factor for each branch of a join, and 0 for a branch that is left out and so not given.
"""

from __future__ import annotations

import torch
from torch import nn


def drop_draw(drops: tuple[float, ...], training: bool) -> list[float]:
    """Which branches of a join run, each left out with its probability (stochastic depth, Huang et al. 2016).

    The result has 0 for a branch that is left out. For the others it has what `sum`, `mean` and `concat` multiply them
    by, so that their expectation is what evaluation gives. If all would be left out, one of them stays.
    """
    if not training:
        return [1.0] * len(drops)
    live = [drop == 0 or bool(torch.rand(()) >= drop) for drop in drops]
    if not any(live):
        live[int(torch.randint(len(drops), ()))] = True
    survivor = 1 / len(drops)
    for drop in drops:
        survivor *= drop
    return [on / (1 - drop + survivor) for on, drop in zip(live, drops, strict=True)]


def draw_column(net: nn.Module, share: float, weights: list[float]) -> None:
    """Draw whether a training step runs a single column: with probability ``share``, in proportion to the columns'
    ``weights`` (global drop-path, Larsson et al. 2016, section 3.1)."""
    if net.training:
        column = int(torch.multinomial(torch.tensor(weights), 1)) if torch.rand(()) < share else None
        for module in net.modules():
            module.__dict__["drawn column"] = column


def path_draw(net: nn.Module, choices: tuple[int, ...], operands: int, drop: float, mean: bool) -> list[float]:
    """Which operands of a rule's join run: the choice of the drawn column, or else each with probability 1 - ``drop``,
    at least one (local drop-path).

    The result has 0 for an operand that is dropped. For the others it has what they are multiplied by.
    """
    if not net.training:
        return [1.0] * operands
    column: int | None = net.__dict__.get("drawn column")
    if column is not None:
        live = [i == choices[column] for i in range(operands)]
    else:
        live = [bool(torch.rand(()) >= drop) for _ in range(operands)]
        if not any(live):
            live[int(torch.randint(operands, ()))] = True
    factor = operands / sum(live) if mean or column is None else 1.0
    return [factor * on for on in live]


def drop_sum(keep: list[float], *branches: torch.Tensor | None) -> torch.Tensor:
    """The sum of the branches that run, each times its factor."""
    given = [x if k == 1 else x * k for k, x in zip(keep, branches, strict=True) if k and x is not None]
    total = given[0]
    for x in given[1:]:
        total = total + x
    return total


def drop_max(keep: list[float], *branches: torch.Tensor | None) -> torch.Tensor:
    """The elementwise maximum of the branches that run."""
    given = [x for k, x in zip(keep, branches, strict=True) if k and x is not None]
    highest = given[0]
    for x in given[1:]:
        highest = torch.maximum(highest, x)
    return highest


def drop_min(keep: list[float], *branches: torch.Tensor | None) -> torch.Tensor:
    """The elementwise minimum of the branches that run."""
    given = [x for k, x in zip(keep, branches, strict=True) if k and x is not None]
    lowest = given[0]
    for x in given[1:]:
        lowest = torch.minimum(lowest, x)
    return lowest


def drop_product(keep: list[float], *branches: torch.Tensor | None) -> torch.Tensor:
    """The elementwise product of the branches that run."""
    given = [x for k, x in zip(keep, branches, strict=True) if k and x is not None]
    result = given[0]
    for x in given[1:]:
        result = result * x
    return result


def drop_concat(dim: int, sizes: tuple[int, ...], keep: list[float], *branches: torch.Tensor | None) -> torch.Tensor:
    """The branches along an axis, each times its factor, and zeros of its size in place of one that does not run."""
    like = next(x for k, x in zip(keep, branches, strict=True) if k and x is not None)
    parts: list[torch.Tensor] = []
    for k, size, x in zip(keep, sizes, branches, strict=True):
        if k and x is not None:
            parts.append(x if k == 1 else x * k)
        else:
            shape = list(like.shape)
            shape[dim] = size
            parts.append(like.new_zeros(shape))
    return torch.cat(parts, dim)


def drop_gated(gated: nn.Module, keep: list[float], *branches: torch.Tensor | None) -> torch.Tensor:
    """A gated join of the branches that run."""
    live = [i for i, k in enumerate(keep) if k]
    return gated(*[branches[i] for i in live], live=live)


def drop_extern(join: nn.Module, keep: list[float], *branches: torch.Tensor | None) -> torch.Tensor:
    """A Python join of the branches that run. A single one passes through unchanged."""
    given = [x for k, x in zip(keep, branches, strict=True) if k and x is not None]
    return given[0] if len(given) == 1 else join(*given)
