"""LitServe: batching in the server, one worker, the fast queue. `PORT LORAS`."""

import sys
from pathlib import Path
from typing import Any

import litserve

from benchmarks.peer_servers.pipeline import BATCH, BATCH_SECONDS, Pipeline, Wish, to_text


class Enhance(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        del device
        self.pipeline = Pipeline(Path(sys.argv[2]))

    def decode_request(self, request: dict[str, Any]) -> Wish:
        return Wish.from_json(request)

    def predict(self, wishes: list[Wish]) -> list[bytes]:
        return self.pipeline.pictures(wishes)

    def encode_response(self, output: bytes) -> dict[str, str]:
        return {"image": to_text(output)}


if __name__ == "__main__":
    # It takes the project's `mcp` for `fastmcp`, which its tools for assistants would need.
    litserve.server._MCP_AVAILABLE = False
    api = Enhance(max_batch_size=BATCH, batch_timeout=BATCH_SECONDS, api_path="/enhance")
    server = litserve.LitServer(api, accelerator="cpu", timeout=600, fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
