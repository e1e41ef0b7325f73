"""Turning any upload into upright sRGB: the code that runs inside the limited child process.

Owns decoding, colours, transparency, orientation and what a photo says of itself. Imports Pillow
and pillow-heif, and of this project only what imports nothing itself; knows nothing of requests,
stores or settings. Read in this order: normalise.py, opening.py, jpeg_end.py, colours.py,
profiles.py, opacity.py, about.py, measure.py.
"""
