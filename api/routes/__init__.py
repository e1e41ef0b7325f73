"""The addresses of the API, one file for each group.

Owns methods, paths, statuses and their documentation. Decides nothing about jobs: it calls
`jobs`, `intake` and the ledger, and hands the result to `wire`.

Start with `jobs.py`; `enhance.py` is the same in one request; `events.py` and `pictures.py` are
what comes of a job; `fleet.py` has health and capabilities.
"""
