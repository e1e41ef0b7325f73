"""The format of answers and errors.

Owns schemas, statuses and the language of every answer. Knows records of `shared`, but no routes.

Read in this order: `schemas.py` (the schemas), `presenter.py` (turns records into answers),
`problems.py` and `errors.py` (every failure becomes problem+json), `sentence.py` and `wording.py`
(both languages), `openapi.py` and `preview_body.py` (the document).
"""
