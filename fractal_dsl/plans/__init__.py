"""Drop-path plans as values, and the part of a graph that a plan leaves live.

In: a ``JoinGraph``. Out: ``Plan`` and the nodes that it needs. Neither pictures nor torch are imported here."""
