"""The protocol's address in our OpenAPI document.

Owns documentation only; the protocol itself describes its tools (`tools/list`). Does not import the
protocol's package.
"""

from typing import Any

from api.faces.mcp.door import PATH

TAG = {
    "name": "mcp",
    "description": "The Model Context Protocol: tools enhance_photo, list_loras, get_job and "
    "cancel_job for assistants.",
}
_MESSAGE = {
    "type": "object",
    "required": ["jsonrpc"],
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "id": {"type": ["string", "integer"]},
        "method": {"type": "string"},
        "params": {"type": "object"},
    },
}
_JSON = {"application/json": {"schema": _MESSAGE}}
_REFUSALS = {
    "401": {"description": "Unauthorized"},
    "403": {"description": "Forbidden: key or origin"},
    "404": {"description": "No such session of this caller"},
    "413": {"description": "More than a megabyte"},
    "429": {"description": "Too many requests"},
}


def _operation(name: str, summary: str, answers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "tags": ["mcp"],
        "operationId": name,
        "summary": summary,
        "responses": answers | _REFUSALS,
        **more,
    }


PATHS: dict[str, Any] = {
    PATH: {
        "post": _operation(
            "mcpSend",
            "Send a message of the protocol (Streamable HTTP)",
            {
                "200": {
                    "description": "The answer, or a stream of progress and the answer",
                    "content": _JSON | {"text/event-stream": {}},
                },
                "202": {"description": "A notification was taken"},
            },
            requestBody={"required": True, "content": _JSON},
        ),
        "get": _operation(
            "mcpListen",
            "Listen to the server's messages of a session",
            {"200": {"description": "Messages", "content": {"text/event-stream": {}}}},
        ),
        "delete": _operation(
            "mcpLeave", "End a session", {"200": {"description": "The session has ended"}}
        ),
    }
}
