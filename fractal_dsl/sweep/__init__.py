"""Sweeps: many training runs over the domains of a spec's parameters and of training settings.

``sweep.json``      what is swept, and how; ``spec/`` has the spec and what it imports, as they were
``journal.log``     every trial: Optuna's journal, which ``optuna.storages.JournalStorage`` opens
``trial-0007/``     a trial's run, an ordinary one; ``trial-0007.log`` what its process printed
``sweep.svg``       accuracy against parameters, MACs and time; ``sweep.html`` the same with the table, offline
"""
