"""The intake of uploads: from bytes sent by a stranger to a checked, normalised picture.

Owns limits on bytes, parts and time, the child processes that decode, and the quality check. Does
not know what a job is.

Read in this order: `upload.py` (receiving the form), `header.py` (the picture's format),
`decoder.py` and `decoder_child.py` (decoding in a separate process), `quality.py` and
`quality_check.py` (pictures that no model can help), `images.py` (storage by sha256), `accepted.py`
(the result). `json_body.py` and `kept.py` serve the routes without a form.
"""
