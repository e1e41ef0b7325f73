"""What answers and refusals look like.

Owns shapes, statuses and the language of every answer. Knows records of `shared`, and no route.

Read in this order: `schemas.py` (the shapes), `presenter.py` (records become answers),
`problems.py` and `errors.py` (every failure becomes problem+json), `sentence.py` and `wording.py`
(both languages), `openapi.py` and `preview_body.py` (the document).
"""
