"""The whole service on one machine: store, workers, gateway and Flower as child processes.

`plan.py` lists the processes, `supervisor.py` keeps them alive (`child_process.py` is one of them),
`stack.py` starts and ends them in order. `foreground.py` is `retouch up`; `embedded.py` is the
service that `retouch enhance` starts for itself. Knows the other parts only by their command lines
and settings, and needs the server's packages.
"""
