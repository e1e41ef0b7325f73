"""Tells a caller's server that a job has ended, without becoming a way into this network.

Owns addresses that are allowed, signatures, and the deliveries; which are due stands in the ledger
(`shared/ledger/webhooks.py`).

Read in this order: `message.py` (what is said), `signing.py`, `addresses.py` and `pinned.py` (where
it may go), `sender.py` (one POST), `courier.py` (all that are due, and their retries).
"""
