"""The job ledger in Redis: the one truth about every job.

Owns keys, scripts and clocks: every change is one atomic Lua script, all times are Redis' own, and
every key has a time to live. Knows nothing of HTTP, pictures or LoRA files.

Read in this order: `store.py` (what can be asked of it), `lua/prelude.lua` with `submit.lua`,
`claim.lua` and `commit.lua` (a job's life), `records.py` (hashes become records), `reaper.py` (what
faults leave behind), `fleet.py` (who is alive), `queue.py` (Celery's hints), `preview_queue.py`,
`webhooks.py`, `strikes.py`, `leftovers.py`.
"""
