"""Writes nets in the formats of other runtimes.

In: a plain network for inference, or an anytime net. Out: a file.
Not imported here: ``sweep`` and above.

Each format has a module here, which imports the libraries of the format only when it writes a file."""
