"""Sweeps: many training runs over the domains of a spec's parameters and of training settings.

In: a spec and the values to try. Out: a folder with a run for each trial, a table and a picture.
Not imported here: ``play`` and ``cli``. Trials train in processes of their own.

``sweep.json``      what is swept, and how; ``spec/`` has copies of the spec and its imports
``journal.log``     all trials, as Optuna's journal, which ``optuna.storages.JournalStorage`` opens
``trial-0007/``     the run of a trial; ``trial-0007.log`` has the output of its process
``sweep.svg``       accuracy against parameters, MACs and time; ``sweep.html`` adds the table, offline"""
