"""Webhooks tell a caller's server that a job has ended, without giving access to this network.

Owns the rules for addresses, signatures, and the deliveries; the ledger stores which are due
(`shared/ledger/webhooks.py`).

Read in this order: `message.py` (the content), `signing.py`, `addresses.py` and `pinned.py` (where
it may go), `sender.py` (one POST), `courier.py` (all due deliveries, and their retries).
"""
