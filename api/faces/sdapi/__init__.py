"""AUTOMATIC1111's routes: `/sdapi/v1/img2img`, `extra-single-image`, `progress`, `interrupt`, ...

Owns that dialect: bodies with base64 pictures (`body.py`, `pictures.py`), what the fields mean
(`form.py`, `extras_form.py`), the caller's current request (`current.py`), what clients list
(`lists.py`), per-caller options (`options.py`), and the text that its pictures carry
(`infotext.py`). Knows nothing of how a job is done. Read `routes.py` first.
"""
