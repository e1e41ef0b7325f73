"""From a checked form to a job in the ledger, and what its owner can follow of it.

Owns the form's grammar, idempotency, ownership, listing and following. Does not know HTTP routes
(`routes` calls it) or how answers look (`wire` does).

Read in this order: `receiving.py` (a request's whole way in), `job_form.py` (the fields),
`idempotency.py`, `submission.py` (the job is recorded), `ownership.py`, `listing.py`, `follow.py`
(a job's events). `form_docs.py` shows the form in the OpenAPI document.
"""
