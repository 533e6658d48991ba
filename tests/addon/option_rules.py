# SPDX-License-Identifier: AGPL-3.0-or-later
"""The Supervisor's small language for option types: what a type is, and which values it takes."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlparse

TYPE = re.compile(
    r"^(?:"
    r"(?P<plain>bool|email|url|port)"
    r"|device(?:\(subsystem=[a-z]+\))?"
    r"|(?P<text>str|password)(?:\((?P<text_range>\d*,\d*)\))?"
    r"|int(?:\((?P<int_range>(?:-?\d+)?,(?:-?\d+)?)\))?"
    r"|float(?:\((?P<float_range>(?:-?\d*\.?\d+)?,(?:-?\d*\.?\d+)?)\))?"
    r"|match\((?P<match>.*)\)"
    r"|list\((?P<list>.+)\)"
    r")(?P<optional>\?)?$"
)
DEEPEST = 2
PLAIN: Mapping[str, Callable[[Any], bool]] = {
    "bool": lambda value: isinstance(value, bool),
    "email": lambda value: isinstance(value, str) and "@" in value,
    "url": lambda value: isinstance(value, str) and bool(urlparse(value).scheme and urlparse(value).netloc),
    "port": lambda value: _is_number(value) and 1 <= value <= 65535,
}


@dataclass(frozen=True)
class Option:
    """One option of the schema: its path, its type, and its value in `options` (None: not there)."""

    path: tuple[str, ...]
    kind: str
    default: Any

    @property
    def name(self) -> str:
        """The path as people write it."""
        return ".".join(self.path)

    @property
    def optional(self) -> bool:
        """Whether the user may leave it out."""
        return self.kind.endswith("?")


def walk(schema: Mapping[str, Any], options: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[Option]:
    """Yield every option of a schema."""
    for key, kind in schema.items():
        value = options.get(key)
        if isinstance(kind, dict):
            yield from walk(kind, value or {}, (*path, key))
        else:
            yield Option((*path, key), kind, value)


def faults(schema: Mapping[str, Any], options: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a schema and its defaults; none when all is well."""
    found = [fault for option in walk(schema, options) if (fault := _fault_of(option))]
    known = {option.path for option in walk(schema, options)}
    return found + [f"{'.'.join(path)}: not in the schema" for path in _leaves(options) if path not in known]


def _fault_of(option: Option) -> str | None:
    match = TYPE.match(option.kind)
    if match is None:
        return f"{option.name}: unknown type {option.kind!r}"
    if len(option.path) > DEEPEST:
        return f"{option.name}: nested deeper than {DEEPEST}"
    if match["text_range"]:
        return f"{option.name}: the Supervisor compares a text with the numbers and refuses every value; use match()"
    return _fault_of_default(option)


def _fault_of_default(option: Option) -> str | None:
    if option.optional and option.default is not None:
        return f"{option.name}: a default makes an optional option required"
    if not option.optional and option.default is None:
        return f"{option.name}: required, but has no default"
    if option.default is not None and not takes(option.kind, option.default):
        return f"{option.name}: {option.default!r} is no {option.kind}"
    return None


def takes(kind: str, value: Any) -> bool:
    """Return whether an option of this type takes a value."""
    match = TYPE.match(kind)
    if match is None:
        return False
    if plain := match["plain"]:
        return PLAIN[plain](value)
    if match["match"] is not None:
        return isinstance(value, str) and re.match(match["match"], value) is not None
    if match["list"] is not None:
        return value in match["list"].split("|")
    if kind.startswith(("int", "float")):
        return _is_number(value) and (isinstance(value, int) or kind.startswith("float")) and _in_range(kind, value)
    return isinstance(value, str)


def limits(kind: str) -> list[float]:
    """Return the limits that a numeric type names."""
    match = TYPE.match(kind)
    named = match and (match["int_range"] or match["float_range"])
    convert = int if kind.startswith("int") else float
    return [convert(limit) for limit in (named or "").split(",") if limit]


def _in_range(kind: str, value: float) -> bool:
    match = TYPE.match(kind)
    low, high = ((match and (match["int_range"] or match["float_range"])) or ",").split(",")
    return (not low or value >= float(low)) and (not high or value <= float(high))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _leaves(options: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in options.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key)
