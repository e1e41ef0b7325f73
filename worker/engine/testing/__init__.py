"""An engine without a model, for tests of the fleet (`RETOUCH_ENGINE=fake`).

`fake.py` has realistic steps and durations and simple pixels; `faults.py` kills, freezes, hangs or
slows it at a named point.
"""
