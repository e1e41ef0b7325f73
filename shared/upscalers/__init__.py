"""The catalogue of enlargers: super-resolution networks in files in `upscalers/`.

Owns how a file is judged without torch, its name, and which one a job gets. Header, layout, digests
and watching the folder are shared with shared/loras. Knows nothing of tensors' values.

Read in this order: entry.py, architecture.py, naming.py, pickled.py, inspection.py, catalog.py,
factor.py.
"""
