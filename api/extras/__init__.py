"""Optional parts of the page: a super-resolution model and its runtime, made at install.

`python -m api.extras` writes them below `api/static/extra/`. The service only serves the files.
"""
