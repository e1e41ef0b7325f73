"""The whole service on one machine: store, workers, gateway and Flower as child processes.

`plan.py` says which processes there are, `supervisor.py` keeps them alive, `stack.py` starts and
ends them in order. Knows the other parts by their command lines and settings only.
"""
