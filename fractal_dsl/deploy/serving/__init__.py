"""Answers requests over HTTP.

In: a shelf or a run. Out: a service that speaks the KServe v2 inference protocol, in JSON and binary.
Not imported here: ``sweep`` and above.

``stages`` loads nets, ``batching`` runs them, and ``protocol`` reads and writes bodies."""
