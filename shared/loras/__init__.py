"""The catalogue of LoRAs: files are judged by their contents before any job uses them.

Owns the verdict on a file (available, incompatible, quarantined) and its reasons. Reads safetensors
with its own strict parser, never with torch, and applies nothing.

Read in this order: `entry.py` (the record), `catalog.py` (the folder, always up to date),
`inspection.py` (judges one file), `header.py` and `layout.py` (the format), `layers.py`,
`kinds.py`, `detect.py` with `clues.py` and `origin.py` (kind and base), `strings.py` and
`suspicions.py` (hostile content), `body.py` (values), `sidecar.py`, `release.py`, `reasons.py`,
`index.py` (lookup by name).
"""
