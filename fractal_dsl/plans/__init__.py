"""Drop-path plans as values, and what a plan leaves of a graph.

In: a ``JoinGraph``. Out: ``Plan`` and the nodes that it needs. Neither pictures nor torch are imported here."""
