"""OpenAI's image routes: `POST /v1/images/edits`, `/variations`, `GET /v1/models`.

Owns that dialect: its form (`form.py`), its errors (`errors.py`), its stream of partial images
(`streaming.py`), its models (`models.py`), and that its clients' own retries make no second job
(`retries.py`). Knows nothing of how a job is done. Read `routes.py` first.
"""
