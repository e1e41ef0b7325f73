"""Parts of a base compiled ahead of time for one device (`retouch build-engine`), and their use.

A built part has its weights and shapes inside. So it serves batches without a LoRA whose shapes it
was built for; whatever else comes goes the usual way.
"""
