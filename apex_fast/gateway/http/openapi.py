"""The description of the HTTP door, made from the table of routes (OpenAPI 3.1, JSON Schema 2020-12)."""

from collections.abc import Sequence
from typing import Any

import msgspec

from apex_fast.gateway.http.route import Route
from apex_fast.gateway.problems import PROBLEM_JSON, ProblemBody, problem_of

Json = dict[str, Any]

# What the checks before every handler may answer.
_EVERYWHERE = ("INVALID_INPUT", "HOST_REFUSED", "INTERNAL", "UNAVAILABLE")
_WITH_BODY = ("BAD_JSON", "MEDIA_TYPE_UNSUPPORTED", "ORIGIN_REFUSED", "TOO_LARGE")
_REFERENCE = "#/components/schemas/{name}"


def document(routes: Sequence[Route], version: str) -> bytes:
    """The whole description as JSON."""
    types: list[type] = [ProblemBody]
    for route in routes:
        types += [kind for kind in (route.body, *(answer.body for answer in route.answers)) if kind]
    unique = list(dict.fromkeys(types))
    schemas, components = msgspec.json.schema_components(unique, ref_template=_REFERENCE)
    named = dict(zip(unique, schemas, strict=True))
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.pattern, {})[route.method.lower()] = _operation(route, named)
    groups = list(dict.fromkeys(route.group for route in routes))
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "apex_fast",
                "version": version,
                "description": "A goal or a graph becomes a durable run that finishes, streams and survives. "
                "What was acknowledged is durable. Errors are RFC 9457 problem documents with a `code`.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
            "servers": [{"url": "/"}],
            "tags": [{"name": group} for group in groups],
            "paths": paths,
            "components": {"schemas": components},
        }
    )


def _operation(route: Route, named: dict[type, Json]) -> Json:
    operation: Json = {
        "operationId": route.operation,
        "summary": route.summary,
        "tags": [route.group],
        "parameters": _parameters(route),
        "responses": {},
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": route.body_required,
            "content": {"application/json": {"schema": named[route.body]}},
        }
    responses = operation["responses"]
    for answer in route.answers:
        shown: Json = {"description": answer.description}
        if answer.body is not None:
            shown["content"] = {answer.media_type: {"schema": named[answer.body]}}
        elif answer.media_type != "application/json":
            shown["content"] = {answer.media_type: {"schema": {"type": "string"}}}
        else:
            shown["content"] = {answer.media_type: {"schema": {"type": "object"}}}
        if answer.headers:
            shown["headers"] = {
                name: {"description": text, "schema": {"type": "string"}} for name, text in answer.headers.items()
            }
        responses[str(answer.status)] = shown
    by_status: dict[int, list[str]] = {}
    codes = (*_EVERYWHERE, *(_WITH_BODY if route.body is not None else ()), *route.problems)
    for code in dict.fromkeys(codes):
        by_status.setdefault(problem_of(code).http, []).append(code)
    for status, found in sorted(by_status.items()):
        problem = {
            "description": " · ".join(f"{code}: {problem_of(code).title}" for code in found),
            "content": {PROBLEM_JSON: {"schema": named[ProblemBody]}},
        }
        responses.setdefault(str(status), problem)
    return operation


def _parameters(route: Route) -> list[Json]:
    parameters: list[Json] = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string"}}
        for part in route.pattern.split("/")
        if part.startswith("{")
    ]
    if route.query is not None:
        schema = msgspec.json.schema(route.query)
        properties = schema["$defs"][route.query.__name__]["properties"] if "$defs" in schema else {}
        parameters += [
            {"name": name, "in": "query", "required": False, "schema": kind} for name, kind in properties.items()
        ]
    for name, text in (route.headers or {}).items():
        parameters.append({"name": name, "in": "header", "description": text, "schema": {"type": "string"}})
    return parameters
