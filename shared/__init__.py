"""Code that gateway and workers share: records, the ledger, catalogues, settings, messages.

Owns the meaning of a job. Never imports torch, nor anything from `api`, `worker` or the client.

Read in this order: `jobs.py` and `params.py` (the records), `ledger/` (every fact about a job, in
Redis), `errors.py` and `messages.py` (failures and their messages), `settings.py` (differences
between machines), `blobs.py` (pictures' bytes), `bases.py` and `defaults.py`, and the catalogues
`loras/`, `upscalers/` and `checkpoints/` (files that are judged before they are used).
"""
