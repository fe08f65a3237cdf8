"""The playground: a page with an editor, the live picture of the net, sliders and figures.

In: a spec, and the texts that the page sends. Out: a page, and answers with pictures, figures, errors and edits.
Not imported here: ``cli``. The server itself never compiles a text: workers do.

    page.html <-> server (loopback only) -> worker (a process with limits) -> answers
    page.html <-> web worker (Pyodide)   -> session                        -> answers

The page is the same for both: ``page/over_http.js`` and ``page/over_worker.js`` carry its questions. The page sends
its text after each change. Workers are stopped when they take too long or when a newer text has arrived, so that no
text can hang the page."""
