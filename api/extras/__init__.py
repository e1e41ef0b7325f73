"""What the page does without as well: a super-resolution model and its runtime, made at install.

`python -m api.extras` puts them below `api/static/extra/`. The service only serves files.
"""
