"""From a spec and settings to a run's folder.

In: a ``Compiled`` net, settings, data. Out: a run. Nothing is deployed here."""
