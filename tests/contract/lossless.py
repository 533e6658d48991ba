# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether what the integration keeps of a JSON object is what the server said."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from custom_components.home_security_intelligence.client import models

LEFT_OUT: Mapping[type, frozenset[str]] = {
    models.Camera: frozenset({"created_at"}),
    models.Server: frozenset({"analyst"}),
    models.Event: frozenset({"end_reason", "frame_count", "tracks", "reasoning", "assessed_at", "feedback"}),
}
"""What the integration has no use for. Everything else has to arrive."""


def assert_kept(parsed: object, said: Any, path: str = "") -> None:
    """Compare a parsed value with the JSON that it was made of, down to the last field."""
    if is_dataclass(parsed) and not isinstance(parsed, type):
        _assert_object_kept(parsed, said, path)
    elif isinstance(parsed, tuple):
        assert isinstance(said, list), path
        assert len(parsed) == len(said), path
        for number, (one, other) in enumerate(zip(parsed, said, strict=True)):
            assert_kept(one, other, f"{path}[{number}]")
    elif isinstance(parsed, datetime):
        assert parsed == datetime.fromisoformat(said), path
    else:
        assert parsed == said, path


def _assert_object_kept(parsed: Any, said: Any, path: str) -> None:
    path = f"{path} {type(parsed).__name__}".strip()
    assert isinstance(said, dict), path
    said = dict(said)
    if isinstance(parsed, models.Server):  # the identity is part of the object on the wire
        said["identity"] = {field.name: said.pop(field.name) for field in fields(models.Identity)}
    names = {field.name for field in fields(parsed)}
    assert set(said) - LEFT_OUT.get(type(parsed), frozenset()) == names, path
    for name in names:
        assert_kept(getattr(parsed, name), said[name], f"{path}.{name}")
