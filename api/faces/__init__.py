"""The APIs of other programs: one folder for each, all over the same jobs.

Owns the list of faces and what several of them need: pictures fitted to a size that an API demands
(`fitting.py`). A face turns a request into the fields of a job, and a job into an answer of its
API. Submission, ledger, keys, limits and guards are those of `/v1/jobs`, and no face knows the
engine. Read `openai/` first, then `sdapi/`, then `mcp/`.
"""
