"""What retouch needs from this machine, looked at one by one.

Each look gives a finding that says how to mend what is missing. `examine.py` has their order.
"""
