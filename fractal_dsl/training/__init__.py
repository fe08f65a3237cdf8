"""Training: the loop and its step, checkpoints, and several processes.

In: a ``Compiled`` net, settings and data. Out: the folder of a run.
Not imported here: ``deploy`` and above."""
