"""The gateway: HTTP on the outside, the ledger and the blob store behind it. Never imports torch.

Owns everything that a caller can see: routes, forms, answers, errors, the page. Does not know how
pictures are made: it records jobs and reads their outcome.

Read in this order: `app.py` (how the application is assembled), `services.py` (the parts that
routes use), `routes/jobs.py` (the routes), then the folders from the outside in:

- `server/`: what applies to every connection and every answer
- `access/`: keys, scopes, rates and limits, checked before every route
- `routes/`: one file for each group of addresses
- `faces/`: the APIs of other programs over the same jobs
- `intake/`: from an upload's bytes to a checked picture
- `jobs/`: from a form to a job, and following the job
- `wire/`: the JSON of answers and errors
- `metrics/`, `webhooks/`, `extras/` (optional parts of the page), `static/` (the page)

Imports go `routes -> jobs -> wire`; `intake` knows nothing of jobs.
"""
