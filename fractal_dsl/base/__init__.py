"""Files, locks, errors and texts: helpers that know nothing about nets.

In: paths, bytes and texts. Out: the same, safely read, written, locked, escaped and laid out.
Not imported here: torch, ``language`` and above."""
