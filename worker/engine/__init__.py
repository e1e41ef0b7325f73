"""Engines: turn pixels into better pixels on one device.

Owns the device. Knows nothing of ledgers, leases or HTTP: the caller passes pixels, resolved
parameters and LoRA entries, and gets events and a future.

Read in this order: `interface.py` (the contract), `make_engine.py` and `engine_choice.py`,
`thread.py` (the only thread that uses the device), `step/` (many pictures, one denoising step at a
time), `lora/` (LoRAs in memory and in a batch), `base/` (the checkpoint), `upscale/` (enlargers),
`fidelity.py`, `colours.py`, `pixels.py`. `diffusers_engine.py` runs the families that the step
engine does not support, `built/` holds parts that were compiled ahead of time, `testing/` is an
engine without a model. docs/engine.md explains the whole.
"""
