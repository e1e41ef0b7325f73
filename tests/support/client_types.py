"""The part of the OpenAPI document from which the JavaScript client's types are made.

`python -m tests.support.client_types` writes client-js/openapi.d.ts with openapi-typescript, which
`npm ci` in client-js installs. Owns which routes the client uses; words for people that change no
type are left out, except those of a job's fields.
"""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from shared.settings import REPOSITORY

CLIENT = REPOSITORY / "client-js"
TYPES = CLIENT / "openapi.d.ts"
TOOL = CLIENT / "node_modules" / ".bin" / "openapi-typescript"
ROUTES = (("/v1/jobs", "post"), ("/v1/jobs/{job_id}", "get"))
HEAD = "// Made by `make client-types` from the service's OpenAPI document, "
_REFERENCE = re.compile(r'"#/components/schemas/([^"]+)"')
_WORDS = frozenset({"description", "summary", "title", "example", "examples", "default"})


def document() -> dict[str, Any]:
    """The client's part of this version's document."""
    from api.app import create_app
    from shared.settings import load_settings

    whole: dict[str, Any] = create_app(load_settings()).openapi()
    paths = {path: {verb: _operation(whole["paths"][path][verb])} for path, verb in ROUTES}
    schemas: dict[str, Any] = {}
    waiting = _names(paths)
    while waiting:
        name = waiting.pop()
        if name not in schemas:
            schemas[name] = _without_words(whole["components"]["schemas"][name])
            waiting |= _names(schemas[name])
    return {
        "openapi": whole["openapi"],
        "info": {"title": "retouch", "version": "1"},
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def stamp(found: dict[str, Any]) -> str:
    """The first line of the types that are made from this document; words do not count."""
    text = json.dumps(_without_words(found), sort_keys=True)
    return HEAD + hashlib.sha256(text.encode()).hexdigest()[:16]


def _operation(operation: dict[str, Any]) -> dict[str, Any]:
    """Parameters, form and the good answers; the form's descriptions become comments."""
    kept = {key: operation[key] for key in ("operationId", "parameters") if key in operation}
    kept = _without_words(kept)
    if "requestBody" in operation:
        kept["requestBody"] = _form(operation["requestBody"])
    good = {code: answer for code, answer in operation["responses"].items() if code < "300"}
    return kept | {"responses": {code: _answer(answer) for code, answer in good.items()}}


def _form(body: dict[str, Any]) -> dict[str, Any]:
    """The form without the rule that one of two fields is needed, which makes no better type."""
    (kind, content), *_ = body["content"].items()
    schema = {key: part for key, part in content["schema"].items() if key != "oneOf"}
    return {"required": True, "content": {kind: {"schema": schema}}}


def _answer(answer: dict[str, Any]) -> dict[str, Any]:
    return {"description": "", "content": _without_words(answer.get("content", {}))}


def _without_words(value: Any) -> Any:
    if isinstance(value, dict):
        named = "properties" if "properties" in value else None
        return {
            key: {name: _without_words(item) for name, item in part.items()}
            if key == named
            else _without_words(part)
            for key, part in value.items()
            if key not in _WORDS
        }
    return [_without_words(item) for item in value] if isinstance(value, list) else value


def _names(value: Any) -> set[str]:
    return set(_REFERENCE.findall(json.dumps(value)))


def main() -> int:
    """Writes the types."""
    if not TOOL.exists():
        print("openapi-typescript is missing: npm ci --prefix client-js", file=sys.stderr)
        return 1
    found = document()
    with tempfile.TemporaryDirectory() as folder:
        described, made = Path(folder) / "openapi.json", Path(folder) / "made.d.ts"
        described.write_text(json.dumps(found))
        options = ["--root-types", "--alphabetize", "--default-non-nullable=false"]
        subprocess.run([TOOL, described, "-o", made, *options], check=True)
        text = re.sub(r"\A/\*\*.*?\*/\s*", "", made.read_text(), flags=re.DOTALL)
    TYPES.write_text(f"{stamp(found)}\n\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
