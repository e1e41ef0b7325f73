"""The service as other programs know it: a folder per dialect, each over the same jobs.

Owns the list of faces and what several of them need: pictures fitted to a size that a dialect
demands (`fitting.py`). A face turns a foreign request into the fields of a job and a job into a
foreign answer; submission, ledger, keys, limits and guards are those of `/v1/jobs`, and no face
knows the engine. Read `openai/` first, then `sdapi/`, then `mcp/`.
"""
