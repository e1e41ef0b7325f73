"""The catalogue of LoRAs: files judged by what is in them, before any job uses one.

Owns the verdict on a file (available, incompatible, quarantined) and its reasons. Reads
safetensors by its own strict reading, never with torch, and applies nothing.

Read in this order: `entry.py` (the record), `catalog.py` (the folder, always up to date),
`inspection.py` (one file judged), `header.py` and `layout.py` (the format), `layers.py`,
`kinds.py`, `detect.py` with `clues.py` and `origin.py` (kind and base), `strings.py` and
`suspicions.py` (hostile content), `body.py` (values), `sidecar.py`, `release.py`, `reasons.py`,
`index.py` (by name).
"""
