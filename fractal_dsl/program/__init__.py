"""From syntax tree to program: resolve names, evaluate values, count sizes in O(levels).

In: ``syntax`` trees. Out: ``Program`` and ``Summary``. Neither graphs nor torch are imported here."""
