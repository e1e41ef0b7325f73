"""The gateway: HTTP in, the ledger and the blob store behind it. Never imports torch.

Owns everything that a caller can see: routes, forms, answers, refusals, the page. Does not know how
a picture is made: it records a job and reads what becomes of it.

Read in this order: `app.py` (how the application is put together), `services.py` (what routes work
with), `routes/jobs.py` (the routes), then the folders from the outside in:

- `server/`: what happens to every connection and every answer
- `access/`: keys, scopes, rates and limits, before every route
- `routes/`: one file for each group of addresses
- `intake/`: an upload's way from bytes to a checked picture
- `jobs/`: from a form to a job, and following it
- `wire/`: the shapes of answers and refusals
- `metrics/`, `webhooks/`, `extras/` (what the page can do without), `static/` (the page)

The arrows go `routes -> jobs -> wire`; `intake` knows of no job.
"""
