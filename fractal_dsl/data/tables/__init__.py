"""Tables in CSV files.

In: a CSV file. Out: its rows as inputs and targets.
Not imported here: ``evaluation`` and above.

``cells`` reads a file, ``fit`` learns encodings from the training rows, and ``encode`` applies them."""
