"""AUTOMATIC1111's routes: `/sdapi/v1/img2img`, `extra-single-image`, `progress`, `interrupt`, ...

Owns this API: bodies with base64 pictures (`body.py`, `pictures.py`), the meaning of the fields
(`form.py`, `extras_form.py`), the caller's current request (`current.py`), lists for clients
(`lists.py`), per-caller options (`options.py`), and the text in its pictures (`infotext.py`). Does
not know how a job is done. Read `routes.py` first.
"""
