"""One attempt at one job: claim, source, choice, engine, guards, file, commit.

Owns what becomes of an attempt. Knows the engine by `engine/interface.py` only, and nothing of
processes.

Read in this order: `runner.py` (claims, and states that follow), `attempt.py` (the attempt),
`leases.py`, `sources.py`, `damage.py` with `damage_measures.py` and `lora_choice.py` (what a job
leaves open), `enlarging.py`, `progress.py` with `history.py`, `outputs.py` and `provenance.py` (the
file). `preview_runner.py` answers previews beside the jobs; `probe.py` is for tests.
"""
