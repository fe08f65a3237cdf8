"""The language: text to syntax tree, and back to text.

In: text. Out: ``syntax`` trees, diagnostics, canonical text.
Not imported here: torch, and anything that knows layers or shapes (``ops``, ``program`` and above)."""
