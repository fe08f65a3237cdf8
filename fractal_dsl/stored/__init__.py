"""Folders that can stand for a spec: compiled networks and training runs, read without torch."""
