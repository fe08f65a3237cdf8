"""The language server: ``services`` in the protocol of editors (LSP 3.17), over standard input and output.

In: the requests of an editor. Out: the answers of ``services``, and pictures of ``play``'s worker.
Not imported here: ``cli``. No text that an editor opens runs Python code unless the editor allows it."""
