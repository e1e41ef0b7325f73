"""Base checkpoints on disk: where one is, what it is, and why it cannot be served.

Reads configuration files and safetensors headers, never weights, and needs no torch: the gateway,
`retouch doctor` and the worker judge a checkpoint by the same rules. Knows nothing of pipelines.

Read in this order: `places`, `formats`, `facts`, `folder`, `single_file`, `other_models`,
`judgement`.
"""
