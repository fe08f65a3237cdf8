"""A run's folder as data: manifest, figures, report, comparison.

In: the files of a run. Out: tables, plots and pages.
Not imported here: torch, ``runtime`` and above."""
