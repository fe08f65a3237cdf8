"""Passes: join graph to join graph, one in a file. Each returns a new graph."""
