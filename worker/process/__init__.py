"""The processes of a worker: they start, stay alive, notice trouble, and end in order.

Owns signals, exit codes, device leases and heartbeats. Knows of a job only that one can be
claimed and run (`worker.job`).

Read in this order: `supervisor.py` (the parent), `engine_child.py` and `engine_process.py` (the
child), `starting.py` (store, device, engine, hints), `tasks.py` (a hint has come), `poller.py`
(work that no hint told of), `heartbeat.py`, `watchdog.py`, `device_leases.py` and `devices.py`,
`child_reaper.py` (what a dead child held), `exits.py`, `parent.py`, `consumer.py`, `alive.py`.
"""
