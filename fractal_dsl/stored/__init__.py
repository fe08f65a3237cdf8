"""Folders that can stand for a spec: compiled networks and training runs.

In: a folder. Out: its kind, its checked manifest, and the ``Compiled`` net that it was made from.
Not imported here: torch, ``runs`` and above."""
