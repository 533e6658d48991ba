# SPDX-License-Identifier: AGPL-3.0-or-later
"""The extras: those that the settings ask for have to be installed."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass

from inference_server.core.diagnosis import Finding, ok, problem, warning
from inference_server.core.hardware import TierName
from inference_server.settings import AnalystBackend, Settings


@dataclass(frozen=True, slots=True)
class Extra:
    """An extra, the module by which it is known, and what it is for."""

    name: str
    module: str
    purpose: str


EXTRAS = (
    Extra("clips", "av", "video clips"),
    Extra("postgres", "asyncpg", "PostgreSQL"),
    Extra("redis", "redis", "Redis"),
    Extra("openvino", "openvino", "GPU and NPU of Intel"),
    Extra("llm", "llama_cpp", "language models on this machine"),
    Extra("export", "ultralytics", "turning YOLO26 weights into ONNX"),
)


def look(settings: Settings) -> Iterator[Finding]:
    """Look at what the settings ask for, and name what is there."""
    installed = [extra for extra in EXTRAS if importlib.util.find_spec(extra.module) is not None]
    names = ", ".join(extra.name for extra in installed) or "none"
    yield ok("extras", f"installed: {names}")
    for extra in EXTRAS:
        if extra in installed:
            continue
        if why := _asked_for(extra, settings):
            finding = warning if extra.name == "clips" else problem
            yield finding(
                "extras",
                f"{why}, and the extra {extra.name} ({extra.purpose}) is not installed",
                f"uv tool install '.[{extra.name}]', or change that setting.",
            )


def _asked_for(extra: Extra, settings: Settings) -> str | None:
    """Return which setting asks for an extra."""
    asks = {
        "clips": settings.clips.enabled and "clips.enabled is on",
        "postgres": settings.database_url is not None
        and settings.database_url.get_secret_value().startswith("postgresql")
        and "the database is PostgreSQL",
        "redis": settings.redis_url is not None and "redis_url is set",
        "llm": settings.analyst.backend is AnalystBackend.LLAMA_CPP and "analyst.backend is llama_cpp",
        "openvino": settings.hardware.tier is TierName.INTEL and "hardware.tier is intel",
    }
    return asks.get(extra.name) or None
