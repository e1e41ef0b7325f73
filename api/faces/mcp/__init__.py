"""The Model Context Protocol over Streamable HTTP at `/mcp`, by the official `mcp` package.

Owns access (`door.py`), the tools (`tools.py`) and photos from addresses (`fetching.py`). `retouch
mcp` offers the same on stdio, in the client's distribution. A session belongs to the caller who
opened it and exists in one gateway only, so several gateways need a load balancer with sticky
sessions.
"""
