"""Converts any upload to upright sRGB: the code that runs inside the limited child process.

Owns decoding, colours, transparency, orientation and metadata. Imports Pillow and pillow-heif, and
from this project only modules without imports of their own; knows nothing of requests, stores or
settings. Read in this order: normalise.py, opening.py, jpeg_end.py, colours.py, profiles.py,
opacity.py, about.py, measure.py, mask.py.
"""
