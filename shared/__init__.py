"""What gateway and workers have in common: records, the ledger, catalogues, settings, words.

Owns the meaning of a job. Never imports torch, and nothing of `api`, `worker` or the client.

Read in this order: `jobs.py` and `params.py` (the records), `ledger/` (every fact about a job, in
Redis), `errors.py` and `messages.py` (failures and their sentences), `settings.py` (what differs
between machines), `blobs.py` (pictures' bytes), `bases.py` and `defaults.py`, and the catalogues
`loras/`, `upscalers/` and `checkpoints/` (files that are judged before they are used).
"""
