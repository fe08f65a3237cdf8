"""The language: text to syntax tree, and back to text.

In: text. Out: ``syntax`` trees, diagnostics, canonical text. Nothing here knows layers or shapes."""
