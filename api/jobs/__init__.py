"""From a checked form to a job in the ledger, and how its owner follows it.

Owns the form's grammar, idempotency, ownership, listing and following. Does not know HTTP routes
(`routes` calls it) or the format of answers (`wire` does).

Read in this order: `receiving.py` (a request from start to end), `job_form.py` (the fields),
`idempotency.py`, `submission.py` (records the job), `ownership.py`, `listing.py`, `follow.py` (a
job's events). `form_docs.py` describes the form in the OpenAPI document.
"""
