"""From graph to picture: layout, DOT, SVG, page.

In: a ``Compiled`` net. Out: a picture. Torch is not imported here."""
