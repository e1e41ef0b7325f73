"""TensorRT engines: parts of a base compiled ahead of time for one device (`retouch build-engine`).

An engine contains its weights and shapes, so it serves batches without a LoRA of the shapes that it
was built for; all other batches run eagerly. Read in this order: `parts`, `key`, `engine_cache`,
`use`, `words`, `compiler`, `command`.
"""
