"""Services for editors: what an editor asks about a text and a place in it.

In: a text, and a place as editors count it. Out: plain records: findings, hovers, completions, edits.
Not imported here: torch, the protocol of any editor, ``play`` and above.

``analysis.analyse`` reads a text once, and every other service takes its ``Analysis``. The language server (``lsp``)
translates the records into its protocol."""
