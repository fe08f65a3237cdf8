"""After training: turns runs and their columns into plain networks.

In: a run or a compiled network. Out: a compiled network with trained weights. Nothing is trained here.
Not imported here: ``sweep``, ``play`` and ``cli``."""
