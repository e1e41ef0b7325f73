"""LoRAs on the device: read, kept, batched, merged.

Owns which LoRAs are in memory. Judges no file: the catalogue (`shared/loras`) did.

Read in this order: `lora_file.py` and `lora_names.py` (a file becomes low-rank pairs),
`residency.py` (which are kept), `slots.py` (different LoRAs in one batch), `merging.py` (one set
written into the weights), `peft_adapters.py` (for the diffusers engine).
"""
