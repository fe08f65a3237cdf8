"""From tree to program: names resolved, values evaluated, sizes counted in O(levels).

In: ``syntax`` trees. Out: ``Program`` and ``Summary``. Neither graphs nor torch are imported here."""
