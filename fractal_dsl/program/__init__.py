"""From syntax tree to program: resolve names, evaluate values, count sizes in O(levels).

In: ``syntax`` trees. Out: ``Program`` and ``Summary``.
Not imported here: torch, and the expanded net (``graph`` and above)."""
