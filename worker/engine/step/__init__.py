"""The step engine: many pictures on one device, one unit of work at a time.

Owns the order of work and the memory ladder. A picture is a row; rows at different steps, with
different LoRAs and prompts, share one UNet call.

Read in this order: `step_engine.py` (the loop), `rows.py` (one picture), `policy.py` (which rows
come next), `units.py` (encode, step, decode), `schedule.py` (the sampler as coefficients),
`denoiser.py` with `graphs.py` (the UNet call), `codec.py`, `prompts.py`, `tiles.py` with
`tiled_rows.py` and `blending.py` (large pictures), `enlarge_row.py`, `interruption.py` (previews go
first), `ladder.py` and `memory_recovery.py` (out of memory).
"""
