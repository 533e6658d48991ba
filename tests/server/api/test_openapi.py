# SPDX-License-Identifier: AGPL-3.0-or-later
"""The OpenAPI document describes the application that serves it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from inference_server.api import websocket
from inference_server.api.application import ROUTES
from inference_server.api.problems import ProblemCode
from tests.server.api.conftest import Connect

type Json = dict[str, Any]


@pytest.fixture
async def document(connect: Connect) -> Json:
    """Fetch the document as a client does."""
    client = await connect(scope=None)
    fetched: Json = await (await client.get("/api/openapi.json")).json()
    return fetched


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


async def test_it_lists_what_the_router_serves(connect: Connect, document: Json) -> None:
    client = await connect(scope=None)
    served = {
        (route.method, route.resource.canonical)
        for route in client.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert {(method, path) for method, path, _ in operations(document)} == served
    assert len(served) == len(ROUTES) + 1


def test_its_head(document: Json) -> None:
    assert document["openapi"] == "3.1.0"
    assert document["info"]["title"]
    assert document["info"]["version"]


def test_its_references_lead_somewhere(document: Json) -> None:
    found = set(references(document))
    assert found
    schemas = document["components"]["schemas"]
    assert {reference.removeprefix("#/components/schemas/") for reference in found} <= schemas.keys()
    assert "CameraObject" in schemas
    assert not [name for name in schemas if name.endswith("Query")]


def test_its_operations_are_well_formed(document: Json) -> None:
    names = []
    for method, path, operation in operations(document):
        names.append(operation["operationId"])
        assert operation["summary"], (method, path)
        assert operation["responses"], (method, path)
        assert all(re.fullmatch(r"[1-5]\d\d", status) for status in operation["responses"])
        assert all(response["description"] for response in operation["responses"].values())
        in_path = {item["name"] for item in operation.get("parameters", []) if item["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path))
        for item in operation.get("parameters", []):
            assert item["required"] == (item["in"] == "path")
            assert item["schema"]
    assert len(names) == len(set(names))


def test_tokens_are_asked_for_where_they_are_needed(document: Json) -> None:
    scopes = {(str(route.method), route.path): route.scope for route in ROUTES}
    for method, path, operation in operations(document):
        if path == websocket.PATH:
            continue
        secured = operation.get("security") == [{"token": []}]
        assert secured == (scopes[method, path] is not None)
        assert ("401" in operation["responses"]) == secured


def test_problems_are_told(document: Json) -> None:
    described = document["paths"]["/api/cameras/{camera_id}/latest.jpg"]["get"]["responses"]
    assert described["200"]["content"] == {"image/jpeg": {}, "image/webp": {}}
    assert "304" in described
    assert described["404"]["description"] == "`camera_not_found`, `no_picture`"
    assert "application/problem+json" in described["404"]["content"]
    assert set(document["components"]["schemas"]["ProblemCode"]["enum"]) == set(ProblemCode)


def test_limits_of_parameters_are_told(document: Json) -> None:
    parameters = {item["name"]: item["schema"] for item in document["paths"]["/api/events"]["get"]["parameters"]}
    assert set(parameters) == {"camera_id", "min_level", "since", "until", "limit", "cursor"}
    assert (parameters["limit"]["minimum"], parameters["limit"]["maximum"]) == (1, 200)
    assert parameters["limit"]["default"] == 50
