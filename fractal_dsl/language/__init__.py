"""The language: text to tree and tree to text.

In: text. Out: ``syntax`` trees, diagnostics, canonical text. No meaning is known here: neither layers nor shapes."""
