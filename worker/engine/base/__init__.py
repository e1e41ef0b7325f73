"""The base checkpoint on a device: loaded, placed, guarded.

Owns loading, precision and what stays on the device. Knows nothing of jobs.

Read in this order: `base_loading.py` with `folder_loading.py` and `single_file.py`,
`loaded_base.py` (the result), `profiles.py` (what fits the device), `precision.py`,
`offload_slot.py`, `batch_sizes.py`, `weights_guard.py`, `device_errors.py` and `device_lost.py`.
"""
