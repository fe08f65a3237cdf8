"""Folders that commands wrote and that stand for a spec: compiled networks and training runs, read without torch."""
