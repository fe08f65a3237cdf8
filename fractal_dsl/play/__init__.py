"""The playground: a local page with an editor, the live picture of the net, sliders and figures.

In: a spec, and the texts that the page sends. Out: a page, and answers with pictures, figures and errors.
Not imported here: ``cli``. The server itself never compiles a text: workers do.

    page.html <-> server (loopback only) -> worker (a process with limits) -> answers (what `render` calls)

The page sends its text after each change. Workers are stopped when they take too long or when a newer text has
arrived, so that no text can hang the server."""

from fractal_dsl.play.documents import Documents
from fractal_dsl.play.server import Server

__all__ = ["Documents", "Server"]
