"""Trains a compiled net, given settings and data, and writes the folder of a run."""
