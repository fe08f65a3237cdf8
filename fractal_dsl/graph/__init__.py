"""The join graph: nodes, edges, and the passes that rewrite them.

In: a ``Program``. Out: a ``JoinGraph``, raw, collapsed and labelled.
Not imported here: torch, ``plans`` and above."""
