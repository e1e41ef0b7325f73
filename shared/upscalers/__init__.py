"""The catalogue of enlargers: networks for super-resolution, found by their files in `upscalers/`.

Owns how a file is judged without torch, what it is called, and which one a job gets. Header,
layout, digests and the folder's watch are those of shared/loras. Knows nothing of tensors' values.

Read in this order: entry.py, architecture.py, naming.py, pickled.py, inspection.py, catalog.py,
factor.py.
"""
