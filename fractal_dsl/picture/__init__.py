"""From graph to picture: layout, DOT, SVG, page.

In: a ``Compiled`` net and its graph. Out: a picture.
Not imported here: torch, ``codegen``, ``config`` and above."""
