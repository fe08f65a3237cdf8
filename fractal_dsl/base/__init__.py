"""Files, locks, errors, texts: what has no opinion about nets.

In: nothing of this package. Out: helpers for every folder. Nothing else of the package is imported here."""
