"""The playground: a local page with an editor, the live picture of the net, sliders and figures.

    page.html <-> server (loopback only) -> worker (a process with limits) -> answers (what `render` calls)

The page sends its text after each change. What compiles and draws runs in processes of their own, which are stopped
when they take too long or when a newer text has arrived, so that no text can hang the server.
"""

from fractal_dsl.play.documents import Documents
from fractal_dsl.play.server import Server

__all__ = ["Documents", "Server"]
