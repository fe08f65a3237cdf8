"""From graph to ``model.py``.

In: a ``JoinGraph``. Out: Python source. Torch is not imported here: the source imports it."""
