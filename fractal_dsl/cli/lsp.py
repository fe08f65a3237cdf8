"""The command lsp."""

from __future__ import annotations

import os

from fractal_dsl.base.errors import UserError


def lsp() -> None:
    """Start the language server, which editors talk to over standard input and output."""
    try:
        import pygls  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError:
        raise UserError("the language server needs pygls: pip install 'fractal_dsl[lsp]'") from None
    from fractal_dsl.lsp.server import server

    # The protocol gets streams of its own. What anything else prints goes to standard error, not between messages.
    with os.fdopen(os.dup(0), "rb") as asked, os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        server.start_io(asked, answers)
