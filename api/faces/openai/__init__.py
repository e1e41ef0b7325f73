"""OpenAI's image routes: `POST /v1/images/edits`, `/variations`, `GET /v1/models`.

Owns this API: its form (`form.py`), its errors (`errors.py`), its stream of partial images
(`streaming.py`), its models (`models.py`), and the rule that automatic retries of its clients make
no second job (`retries.py`). Does not know how a job is done. Read `routes.py` first.
"""
