"""An engine without a model, for tests of the fleet (`RETOUCH_ENGINE=fake`).

`fake.py` is true in steps and time and simple in pixels; `faults.py` kills, freezes, hangs or slows
it at a named point.
"""
