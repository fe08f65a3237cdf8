"""From graph to ``model.py``.

In: a ``JoinGraph``. Out: Python source, which imports torch itself.
Not imported here: torch, ``picture``, ``config`` and above."""
