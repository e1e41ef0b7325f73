"""The job ledger in Redis: the only truth about every job.

Owns keys, scripts and clocks: every change is one atomic Lua script, all times are taken from
Redis' clock, and every key has a time to live. Knows nothing of HTTP, pictures or LoRA files.

Read in this order: `store.py` (its interface), `lua/prelude.lua` with `submit.lua`, `claim.lua` and
`commit.lua` (a job's life), `records.py` (turns hashes into records), `reaper.py` (recovery from
faults), `fleet.py` (live workers), `queue.py` (Celery's hints) with `broker.py`,
`preview_queue.py`, `webhooks.py`, `strikes.py`, `leftovers.py`, `packing.py`, `key_prefix.py`.
"""
