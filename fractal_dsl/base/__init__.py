"""Files, locks, errors and texts: helpers that know nothing about nets.

Every folder may import this one, and it imports nothing else of the package."""
