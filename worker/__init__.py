"""A worker: claims jobs, makes pictures on one device, commits them.

Owns everything that needs torch. Shares code with the gateway only through `shared`. A worker is
two processes: a supervisor, and the engine process as its child.

Read in this order, which is also the direction of the imports:

- `process/`: the two processes, heartbeat, watchdog, devices, hints
- `job/`: one attempt at one job, from its claim to its commit
- `engine/`: pixels in, better pixels out, on one device
- `guards/`: checks of input and output
- `training/`: how LoRAs, bases and enlargers are made; nothing above imports it
"""
