"""A run's folder as data: manifest, figures, report, comparison.

Reads the files of a run and produces tables, plots and pages. Torch is not imported here."""
