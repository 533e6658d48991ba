# SPDX-License-Identifier: AGPL-3.0-or-later
"""The OpenAPI 3.1 document, written from the declared routes."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, RootModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from inference_server import __version__
from inference_server.api import problems, websocket
from inference_server.api.context import ApiContext
from inference_server.api.files import StoredFile
from inference_server.api.pictures import Picture
from inference_server.api.problems import Problem, ProblemCode
from inference_server.api.routing import BODY, NOT_SENT, AnyRoute, Parameters, Route
from inference_server.api.schema import SCHEMA_VERSION
from inference_server.detection.annotate import PictureForm

PATH = "/api/openapi.json"

_REFERENCE = "#/components/schemas/{model}"


class OpenApiDocument(RootModel[dict[str, Any]]):
    """An OpenAPI document; its form is that standard's."""


def route(others: Iterable[AnyRoute]) -> AnyRoute:
    """Return the route that serves the document of all other routes and of itself."""

    async def serve(_context: ApiContext, _asked: Parameters) -> OpenApiDocument:
        return document

    own = Route(
        path=PATH,
        summary="This document",
        scope=None,
        parameters=Parameters,
        answer=OpenApiDocument,
        handler=serve,
    )
    document = describe((*others, own))
    return own


def describe(routes: Iterable[AnyRoute]) -> OpenApiDocument:
    """Return the document of these routes and of the WebSocket."""
    routes = tuple(routes)
    schemas = _schemas(routes)
    asked = {name: schemas.pop(name) for name in {route.parameters.__name__ for route in routes}}
    paths: dict[str, dict[str, Any]] = {}
    for item in routes:
        operation = _operation(item, asked[item.parameters.__name__])
        paths.setdefault(item.path, {})[item.method.lower()] = operation
    paths[websocket.PATH] = {"get": _WEBSOCKET}
    return OpenApiDocument(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Home Security Intelligence",
                "version": __version__,
                "description": f"Schema version {SCHEMA_VERSION}.",
                "license": {"name": "AGPL-3.0-or-later", "identifier": "AGPL-3.0-or-later"},
            },
            "paths": paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            },
        }
    )


def _schemas(routes: Iterable[AnyRoute]) -> dict[str, Any]:
    answers: list[type[BaseModel]] = [item.answer for item in routes if issubclass(item.answer, BaseModel)]
    sent: dict[type[BaseModel], JsonSchemaMode] = dict.fromkeys([*answers, Problem], "serialization")
    received: dict[type[BaseModel], JsonSchemaMode] = dict.fromkeys((item.parameters for item in routes), "validation")
    _, schema = models_json_schema([*sent.items(), *received.items()], ref_template=_REFERENCE)
    return dict(schema["$defs"])


def _operation(route: AnyRoute, asked: Mapping[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{route.handler.__module__.rpartition('.')[2]}_{route.handler.__name__}",
        "parameters": [
            {
                "name": name,
                "in": "path" if name in route.path_names else "query",
                "required": name in route.path_names,
                "schema": schema,
            }
            for name, schema in asked.get("properties", {}).items()
            if name not in NOT_SENT
        ],
        "responses": {**_successes(route), **_failures(route)},
    }
    if route.has_body:
        operation["requestBody"] = _body(asked["properties"][BODY])
    if route.scope is not None:
        operation["security"] = [{"token": []}]
        operation["description"] = f"Needs the scope `{route.scope}`."
    return operation


def _body(schema: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return {"required": True, "content": {"application/json": {"schema": schema}}}
    form = {"type": "object", "properties": {"file": schema}, "required": ["file"]}
    return {"required": True, "content": {"*/*": {"schema": schema}, "multipart/form-data": {"schema": form}}}


def _successes(route: AnyRoute) -> dict[str, Any]:
    statuses = [route.status, HTTPStatus.CREATED] if route.created else [route.status]
    return {str(status.value): _success(route) for status in statuses}


def _success(route: AnyRoute) -> dict[str, Any]:
    if issubclass(route.answer, Picture):
        return {"description": "The picture", "content": {form.media_type: {} for form in PictureForm}}
    if issubclass(route.answer, StoredFile):
        return {"description": "The file", "content": {"*/*": {}}}
    if issubclass(route.answer, BaseModel):
        reference = {"$ref": _REFERENCE.format(model=route.answer.__name__)}
        return {"description": "Success", "content": {"application/json": {"schema": reference}}}
    return {"description": "Done"}


def _failures(route: AnyRoute) -> dict[str, Any]:
    codes = [*route.problems, ProblemCode.INVALID_REQUEST, ProblemCode.INTERNAL]
    if route.scope is not None:
        codes.append(ProblemCode.STORAGE_DOWN)
        codes += [ProblemCode.UNAUTHORIZED, ProblemCode.FORBIDDEN, ProblemCode.TOO_MANY_ATTEMPTS]
    by_status: dict[str, list[str]] = {}
    for code in codes:
        by_status.setdefault(str(code.kind.status), []).append(f"`{code}`")
    content = {problems.CONTENT_TYPE: {"schema": {"$ref": _REFERENCE.format(model=Problem.__name__)}}}
    failures: dict[str, Any] = {
        status: {"description": ", ".join(names), "content": content} for status, names in sorted(by_status.items())
    }
    if issubclass(route.answer, Picture | StoredFile):
        failures[str(HTTPStatus.NOT_MODIFIED.value)] = {"description": "The client's copy is still right"}
    if issubclass(route.answer, StoredFile):
        failures[str(HTTPStatus.PARTIAL_CONTENT.value)] = {"description": "The part of the file that was asked for"}
        failures[str(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE.value)] = {"description": "The file has no such part"}
    return failures


_WEBSOCKET: dict[str, Any] = {
    "summary": "The WebSocket; docs/protocol.md describes its messages",
    "operationId": "websocket",
    "description": "The token travels in the client's first message.",
    "responses": {str(HTTPStatus.SWITCHING_PROTOCOLS.value): {"description": "The WebSocket is open"}},
}
