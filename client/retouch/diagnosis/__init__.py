"""What retouch needs from this machine, checked one by one.

Each check gives a finding that says how to mend what is missing. Read `finding.py` first;
`examine.py` has the order of the checks. Needs the server's packages, all but torch.
"""
