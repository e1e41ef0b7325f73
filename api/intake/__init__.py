"""An upload's way in: from bytes that a stranger sends to a checked, normalised picture.

Owns limits on bytes, parts and time, the child processes that decode, and the check of quality.
Does not know what a job is.

Read in this order: `upload.py` (the form as it comes in), `header.py` (what kind of picture it
is), `decoder.py` and `decoder_child.py` (decoding in a process of its own), `quality.py` and
`quality_check.py` (what no model can help), `images.py` (kept by sha256), `accepted.py` (the
result). `json_body.py` and `kept.py` serve the routes without a form.
"""
