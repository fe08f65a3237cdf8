"""After training: turns the columns of a run into plain networks.

Reads runs and writes compiled networks. Nothing is trained here."""
