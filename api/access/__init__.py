"""Who may do what, how often, and how much at a time.

Owns keys, scopes, rates, shares and short-lived tickets. Knows nothing of forms or pictures.

Read in this order: `keys.py` (who a caller is), `guard.py` (the dependency before every route),
`rate.py` (requests over time), `places.py` (simultaneous uploads and followers), `shares.py` (jobs
and bytes of one key), `tickets.py` (permits for EventSource and WebSocket).
"""
