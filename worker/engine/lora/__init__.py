"""LoRAs on the device: loaded, cached, batched, merged.

Owns which LoRAs are in memory. Does not judge files: the catalogue (`shared/loras`) does.

Read in this order: `lora_file.py` (a file becomes changes of weights), `changes.py` (the kinds of
changes), `residency.py` (which LoRAs stay in memory), `slots.py` (different LoRAs in one batch),
`merging.py` (one set written into the weights), `peft_adapters.py` (for the diffusers engine).
"""
