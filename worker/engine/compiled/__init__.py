"""Blocks of the base's networks compiled by torch's own compiler, where it finds what it needs.

Where TensorRT engines (worker/engine/built) contain weights and shapes, the code here contains
neither: a block's weights are inputs of its function, so that merged LoRAs take effect, and sizes
and batch are free. Equal blocks share one function. Between blocks nothing is pending, so previews
interrupt a network there as they do between its layers; CUDA graphs capture code like the kernels
of torch, and are captured anew when code has come (`CompiledBlocks.generation`).

Read in this order: `regions` (which blocks), `use` (which way a block runs), `shelf` (files),
`background` (who has them made, and when), `toolchain` (what that needs), `making` with `tracing`
(the program that makes them), `code` (a file as a function).
"""
