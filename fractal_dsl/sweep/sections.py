"""The pictures of a sweep's page that say which values are good: by setting, over time, by importance, in parallel."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

from fractal_dsl.runs.exploration import (
    PARALLEL,
    RING,
    Explored,
    history_svg,
    importance_svg,
    parallel_svg,
    settings_svgs,
)
from fractal_dsl.runs.page import figure
from fractal_dsl.sweep.ledger import Ledger

_LEAST = 5
"""Finished trials below which importances say nothing."""


def sections(runs: Explored | None, ledger: Ledger) -> list[str]:
    """The sections as HTML; none before two trials are finished."""
    if runs is None:
        return []
    numbers = [int(name.removeprefix("trial ")) for name in runs.names]
    history = figure(history_svg(numbers, runs, "history"), "Finished trials in the order in which they began.")
    parts = ["<h2>History</h2>", history]
    if not runs.varying():
        return parts
    if shares := importances(ledger, len(numbers)):
        caption = (
            "The share of the variance between trials that each setting explains, alone and with others: fANOVA on a "
            "random forest (Hutter et al., 2014)."
        )
        parts += ["<h2>Importance</h2>", figure(importance_svg(shares, "importance"), caption)]
    parts.append("<h2>Each setting</h2>")
    parts += [figure(svg, RING) for svg in settings_svgs(runs, "setting")]
    return [*parts, "<h2>All settings</h2>", figure(parallel_svg(runs, "parallel"), PARALLEL)]


def importances(ledger: Ledger, done: int) -> dict[str, float]:
    """The share of each setting in the variance of the score; empty with few trials or without scikit-learn."""
    if done < _LEAST or find_spec("sklearn") is None:
        return {}
    import optuna

    names = {axis.key: axis.name for axis in ledger.sweep.space}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        try:
            shares = optuna.importance.get_param_importances(
                ledger.study, evaluator=evaluator, target=lambda trial: trial.values[0]
            )
        except (ValueError, RuntimeError):  # all scores are equal, or no setting varies
            return {}
    return {names[key]: share for key, share in shares.items() if key in names}
