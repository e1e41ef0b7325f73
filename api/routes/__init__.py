"""The addresses of the API, one file for each group.

Owns methods, paths, statuses and their documentation. Decides nothing about jobs: it calls `jobs`,
`intake` and the ledger, and passes the result to `wire`.

Start with `jobs.py`; `enhance.py` does the same in one request; `events.py` and `pictures.py` serve
a job's progress and results; `fleet.py` has health and capabilities.
"""
