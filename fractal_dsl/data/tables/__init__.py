"""Tables in CSV files: ``cells`` reads a file, ``fit`` learns encodings from training rows, ``encode`` applies them."""
