"""Notebooks: a cell magic for specs, and curves that grow while a net trains.

In: cells, and the folder of a run. Out: compiled nets, displayed. Nets, plans and runs display themselves.
Not imported here: ``cli``.

    %load_ext fractal_dsl.notebook
    %%frac net -p columns=3"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fractal_dsl.notebook.curves import live

__all__ = ["live", "load_ipython_extension"]


def load_ipython_extension(ipython: Any) -> None:
    """Register the magic ``%%frac``; IPython calls this for ``%load_ext fractal_dsl.notebook``."""
    from fractal_dsl.notebook.magic import frac

    ipython.register_magic_function(partial(frac, ipython), "cell", "frac")


def __getattr__(name: str) -> Any:
    if name != "live":
        raise AttributeError(f"module 'fractal_dsl.notebook' has no attribute {name!r}")
    from fractal_dsl.notebook.curves import live

    return live
