# SPDX-License-Identifier: AGPL-3.0-or-later
"""JSON schemas (2020-12) that a grammar can keep: what llama.cpp would pass over is refused or said otherwise.

llama.cpp ignores `minimum` and `maximum`. A small range of whole numbers therefore becomes an `enum`.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MOST_BYTES = 64 << 10
MOST_DEPTH = 32
LARGEST_RANGE = 1001
"""As many whole numbers as an `enum` may get in place of `minimum` and `maximum`."""
MOST_REPETITIONS = 2000
"""Of characters and items: a grammar holds a rule for each."""
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "$schema", "$id", "$comment", "deprecated"})
_KNOWN = _ANNOTATIONS | {
    *("type", "enum", "const", "properties", "required", "additionalProperties", "items", "minItems", "maxItems"),
    *("minLength", "maxLength", "pattern", "anyOf", "oneOf", "$ref", "$defs", "minimum", "maximum"),
}
_BOUNDS = ("minItems", "maxItems", "minLength", "maxLength")


class SchemaError(ValueError):
    """A schema that no answer can be held to; the message says which part of it, and what to write instead."""


@dataclass(frozen=True, slots=True, init=False)
class JsonSchema:
    """A schema that was examined. `text` is it as JSON, with ranges of whole numbers as `enum`."""

    text: str
    _root: dict[str, Any] = field(repr=False, compare=False)

    def __init__(self, schema: Mapping[str, object]) -> None:
        """Examine a schema, as `json.loads` or pydantic's `model_json_schema` gives it. Raises SchemaError."""
        try:
            copy = json.loads(json.dumps(schema, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise SchemaError(f"This is no JSON schema: {error}.") from error
        root = _examined(copy, copy, "$", 0)
        text = json.dumps(root, separators=(",", ":"))
        if len(text) > MOST_BYTES:
            raise SchemaError(f"The schema has {len(text)} bytes; {MOST_BYTES} is the most.")
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "_root", root)

    @property
    def value(self) -> dict[str, Any]:
        """The schema, to be read only."""
        return self._root

    def problem(self, value: object) -> str | None:
        """Return where and why a value that JSON gave does not fit; None where it does."""
        try:
            return next(_problems(value, self._root, self._root, "$"), None)
        except RecursionError:
            return "$ is nested without end, or the schema refers to itself without end"


def _examined(schema: Any, root: Any, at: str, depth: int) -> dict[str, Any]:
    """Return a schema as a grammar can keep it."""
    if not isinstance(schema, dict):
        raise SchemaError(f"{at} is no schema: an object is wanted.")
    if depth > MOST_DEPTH:
        raise SchemaError(f"{at[:80]} is nested too deeply; {MOST_DEPTH} is the most.")
    if unknown := sorted(schema.keys() - _KNOWN):
        raise SchemaError(f'{at} uses "{unknown[0][:40]}", which a grammar cannot keep; leave it out.')
    found = {key: value for key, value in schema.items() if key not in _ANNOTATIONS}
    _check_simple(found, root, at)
    for key, map_it in (("properties", _each), ("$defs", _each), ("anyOf", _all), ("oneOf", _all)):
        if key in found:
            found[key] = map_it(found[key], root, f"{at}.{key}", depth + 1)
    for key in ("items", "additionalProperties"):
        if key in found and not isinstance(found[key], bool):
            found[key] = _examined(found[key], root, f"{at}.{key}", depth + 1)
    return _without_bounds(found, at)


def _each(schemas: Any, root: Any, at: str, depth: int) -> dict[str, Any]:
    if not isinstance(schemas, dict):
        raise SchemaError(f"{at} is no object of schemas.")
    return {name: _examined(schema, root, f"{at}.{name}", depth) for name, schema in schemas.items()}


def _all(schemas: Any, root: Any, at: str, depth: int) -> list[Any]:
    if not isinstance(schemas, list) or not schemas:
        raise SchemaError(f"{at} is no list of schemas.")
    return [_examined(schema, root, f"{at}[{number}]", depth) for number, schema in enumerate(schemas)]


def _check_simple(schema: dict[str, Any], root: Any, at: str) -> None:
    kinds = schema.get("type")
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if kind is not None and (not isinstance(kind, str) or kind not in _TYPES):
            raise SchemaError(f"{at} has no known type; use one of {', '.join(_TYPES)}.")
    if "enum" in schema and not (isinstance(schema["enum"], list) and schema["enum"]):
        raise SchemaError(f"{at}.enum is no list of values.")
    if "$ref" in schema:
        _resolved(schema["$ref"], root, at)
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise SchemaError(f"{at}.required is no list of names.")
    if strangers := [name for name in required if name not in schema.get("properties", {})]:
        raise SchemaError(f'{at} requires "{strangers[0][:40]}", which is none of its properties.')
    _check_lengths(schema, at)


def _check_lengths(schema: dict[str, Any], at: str) -> None:
    for key in _BOUNDS:
        bound = schema.get(key, 0)
        if not isinstance(bound, int) or isinstance(bound, bool) or not 0 <= bound <= MOST_REPETITIONS:
            raise SchemaError(f"{at}.{key} is no whole number up to {MOST_REPETITIONS}.")
    if "pattern" in schema:
        pattern = schema["pattern"]
        if not isinstance(pattern, str) or not re.fullmatch(r"\^.{,200}\$", pattern):
            raise SchemaError(f"{at}.pattern has to begin with ^, end with $ and have at most 200 characters between.")
        try:
            re.compile(pattern)
        except re.error as error:
            raise SchemaError(f"{at}.pattern is no pattern: {error}.") from error


def _without_bounds(schema: dict[str, Any], at: str) -> dict[str, Any]:
    """Return a schema whose range of numbers is an `enum`: a grammar ignores bounds."""
    low, high = schema.pop("minimum", None), schema.pop("maximum", None)
    if (low is None and high is None) or "enum" in schema or "const" in schema:
        return schema
    whole = all(isinstance(bound, int) and not isinstance(bound, bool) for bound in (low, high))
    if schema.get("type") != "integer" or not whole or not 0 <= high - low < LARGEST_RANGE:
        raise SchemaError(
            f"{at} bounds a number, which a grammar cannot keep: list its values as an enum, or give whole numbers a "
            f"minimum and a maximum at most {LARGEST_RANGE - 1} apart."
        )
    return {"enum": list(range(low, high + 1))}


def _resolved(reference: object, root: Any, at: str) -> dict[str, Any]:
    """Return what a `$ref` means: `#` or a path from it, as #/$defs/Name."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise SchemaError(f"{at} refers to something outside of the schema.")
    found = root
    for step in reference[1:].split("/")[1:]:
        found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise SchemaError(f"{at} refers to {reference[:60]}, which is not there.")
    return found


def _problems(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str) -> Iterator[str]:
    """Yield what is wrong with a value, the nearest to the root first."""
    if "$ref" in schema:
        yield from _problems(value, _resolved(schema["$ref"], root, at), root, at)
    kinds = schema.get("type")
    if kinds is not None and not any(_is(value, kind) for kind in (kinds if isinstance(kinds, list) else [kinds])):
        yield f"{at} is no {kinds if isinstance(kinds, str) else ' or '.join(kinds)}"
        return
    if "enum" in schema and not any(_same(value, allowed) for allowed in schema["enum"]):
        yield f"{at} is none of the {len(schema['enum'])} values allowed"
    if "const" in schema and not _same(value, schema["const"]):
        yield f"{at} is not {json.dumps(schema['const'])[:40]}"
    for key in ("anyOf", "oneOf"):
        if key in schema and all(next(_problems(value, one, root, at), None) for one in schema[key]):
            yield f"{at} fits none of {key}"
    check: Callable[..., Iterator[str]] | None = _CHECKS.get(type(value))
    if check is not None:
        yield from check(value, schema, root, at)


def _is(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return isinstance(value, _TYPES[kind]) or (kind == "integer" and isinstance(value, float) and value.is_integer())


def _same(value: object, other: object) -> bool:
    """Return whether two JSON values are equal; 1 and true are not."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _object_problems(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], at: str) -> Iterator[str]:
    properties = schema.get("properties", {})
    for name in schema.get("required", []):
        if name not in value:
            yield f"{at}.{name} is missing"
    more = schema.get("additionalProperties", "properties" not in schema)
    for name, item in value.items():
        if name in properties:
            yield from _problems(item, properties[name], root, f"{at}.{name}")
        elif more is False:
            yield f"{at}.{name[:40]} is not allowed"
        elif isinstance(more, dict):
            yield from _problems(item, more, root, f"{at}.{name[:40]}")


def _array_problems(value: list[Any], schema: dict[str, Any], root: dict[str, Any], at: str) -> Iterator[str]:
    yield from _length_problems(value, schema, at, "Items")
    if isinstance(schema.get("items"), dict):
        for number, item in enumerate(value):
            yield from _problems(item, schema["items"], root, f"{at}[{number}]")


def _string_problems(value: str, schema: dict[str, Any], _root: dict[str, Any], at: str) -> Iterator[str]:
    yield from _length_problems(value, schema, at, "Length")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{at} does not fit its pattern"


def _length_problems(value: Sequence[Any], schema: dict[str, Any], at: str, what: str) -> Iterator[str]:
    low, high = schema.get(f"min{what}", 0), schema.get(f"max{what}", math.inf)
    if not low <= len(value) <= high:
        yield f"{at} has the length {len(value)}, not {low} to {high}"


_CHECKS: Mapping[type, Callable[..., Iterator[str]]] = {
    dict: _object_problems,
    list: _array_problems,
    str: _string_problems,
}


ANY_OBJECT = JsonSchema({"type": "object"})
"""Any JSON object."""
