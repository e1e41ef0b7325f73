"""The OpenAPI document says all there is, and only what is true."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.wire.problems import STATUS

FACES = {"openai", "sdapi", "mcp"}
METHODS = {"get", "post", "delete", "head", "put", "patch"}


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    answer: dict[str, Any] = client.get("/openapi.json").json()
    return answer


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def own_operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Without those that speak another program's dialect, refusals included."""
    return {
        name: operation
        for name, operation in operations(document).items()
        if not FACES & set(operation["tags"])
    }


def references(node: object) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(references(item) for item in node))
    return set()


def test_every_route_of_the_contract_is_there(document: dict[str, Any]) -> None:
    assert set(own_operations(document)) == {
        "POST /v1/jobs",
        "GET /v1/jobs",
        "GET /v1/jobs/{job_id}",
        "DELETE /v1/jobs/{job_id}",
        "POST /v1/jobs/{job_id}/report",
        "GET /v1/jobs/{job_id}/image",
        "GET /v1/jobs/{job_id}/preview",
        "GET /v1/jobs/{job_id}/source",
        "GET /v1/jobs/{job_id}/refused",
        "GET /v1/jobs/{job_id}/events",
        "POST /v1/jobs/{job_id}/ticket",
        "POST /v1/images",
        "HEAD /v1/images/{image_id}",
        "POST /v1/previews",
        "GET /v1/loras",
        "GET /v1/loras/{name}",
        "GET /v1/loras/{name}/sample",
        "GET /v1/upscalers",
        "GET /v1/capabilities",
        "GET /v1/workers",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "POST /enhance",
    }
    assert document["openapi"].startswith("3.1")
    assert "/socket" in document["info"]["description"]


def test_every_operation_has_a_name_of_its_own_and_a_summary(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(document).values()]

    assert len(set(names)) == len(names)
    assert all(name.isalpha() for name in names)
    assert all(operation["summary"] for operation in operations(document).values())


def test_every_refusal_is_the_problem_shape_with_an_example(document: dict[str, Any]) -> None:
    for name, operation in own_operations(document).items():
        for status, answer in operation["responses"].items():
            if int(status) < 400:
                continue
            (media,) = answer["content"].items()
            assert media[0] == "application/problem+json", name
            assert media[1]["schema"] == {"$ref": "#/components/schemas/Problem"}
            for code, example in media[1].get("examples", {}).items():
                assert example["value"]["status"] == STATUS[code] == int(status)


def test_every_face_is_a_group_of_its_own(document: dict[str, Any]) -> None:
    described = {tag["name"] for tag in document["tags"]}
    used = {tag for operation in operations(document).values() for tag in operation["tags"]}

    assert described & used >= FACES
    assert "POST /mcp" in operations(document)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in references(document):
        kind, name = reference.removeprefix("#/components/").split("/")
        assert name in document["components"][kind]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_the_form_of_a_job_is_documented_with_its_ranges(document: dict[str, Any]) -> None:
    body = operations(document)["POST /v1/jobs"]["requestBody"]["content"]["multipart/form-data"]
    form = body["schema"]

    assert set(form["properties"]) == {
        "image", "image_id", "image_url", "result_url",
        "mask", "base", "lora", "strength", "steps", "guidance_scale", "sampler",
        "timestep", "pixel_scale", "semantic_scale",
        "prompt", "negative_prompt", "trigger_words", "seed", "max_side", "upscale",
        "upscaler", "format", "quality", "metadata", "fidelity",
        "pyramid",
        "preview", "priority", "webhook_url", "webhook_events", "embed_metadata", "force",
        "deterministic",
    }  # fmt: skip
    assert form["additionalProperties"] is False
    assert form["properties"]["steps"]["maximum"] == 50
    assert form["properties"]["lora"]["maxItems"] == 64
    assert form["properties"]["strength"]["minimum"] == 0.05
    assert "null" not in str(form)
