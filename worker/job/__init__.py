"""One attempt at one job: claim, source, choice, engine, guards, file, commit.

Owns the outcome of an attempt. Knows the engine only by `engine/interface.py`, and nothing of
processes.

Read in this order: `runner.py` (claims jobs and sets their final state), `attempt.py` (the
attempt), `leases.py`, `sources.py`, `damage.py` with `damage_measures.py`, `treatments.py` and
`lora_choice.py` (choices that a job leaves to the worker), `pyramid.py`, `enlarging.py`,
`ineffective.py`, `progress.py` with `history.py`, `outputs.py` and `provenance.py` (the file).
`preview_runner.py` answers previews beside the jobs; `probe.py` is for tests.
"""
