"""The processes of a worker: how they start, stay alive, detect faults, and end in order.

Owns signals, exit codes, device leases and heartbeats. Knows of jobs only that one can be claimed
and run (`worker.job`).

Read in this order: `supervisor.py` (the parent), `engine_child.py` and `engine_process.py` (the
child), `starting.py` (store, device, engine, hints), `tasks.py` (a hint arrives), `poller.py` (work
whose hint was lost), `heartbeat.py`, `watchdog.py`, `device_leases.py` and `devices.py`,
`child_reaper.py` (returns a dead child's jobs), `exits.py`, `parent.py`, `consumer.py`, `alive.py`.
"""
