"""Drop-path plans as values, and the part of a graph that a plan leaves live.

In: a ``JoinGraph``. Out: a ``Plan``, and the nodes that it needs.
Not imported here: torch, ``picture``, ``codegen`` and above."""
