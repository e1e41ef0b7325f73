"""How LoRAs are trained (`retouch train`); the base, the enlarger and the watermark network below.

Owns recipes, losses, checkpoints of a run and reports. The service imports none of it.

Read in this order: `main.py` (the command), `train.py`, `recipe.py` (every number), `photos.py` and
`damage/` (training pairs), `restoration.py` or `style.py` (the tasks), `objective.py` with
`sampler.py` (the loss), `loop.py`, `checkpoint.py`, `validation.py` and `report.py`, `sidecar.py`.
`base/`, `upscaler/` and `marks/` train the other networks of the repository, by `staged.py`.
"""
