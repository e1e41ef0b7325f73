"""Checks one by one what retouch needs from this machine.

Each check returns a finding that says how to fix what is missing. Read `finding.py` first;
`examine.py` has the order of the checks. Needs the server's packages except torch.
"""
