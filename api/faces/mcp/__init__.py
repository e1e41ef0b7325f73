"""The Model Context Protocol over Streamable HTTP at `/mcp`, by the official `mcp` package.

Owns who may speak (`door.py`), the tools (`tools.py`) and photos from addresses (`fetching.py`).
`retouch mcp` is the same on stdio, in the client's distribution. Sessions belong to the caller who
began them; they live in the gateway that began them, so several need a balancer that keeps them.
"""
