# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules that the Supervisor (2026.08) and the linter of the community hold an app's config.yaml to."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlparse

from tests.addon import option_rules

REQUIRED = ("name", "version", "slug", "description", "arch")
ARCHITECTURES = {"aarch64", "amd64"}
MAPS = {"data", "ssl", "share", "media", "backup", "homeassistant_config"}
OBSOLETE = {
    "advanced": "ignored since 2026.03",
    "auto_uart": "replaced by uart",
    "codenotary": "ignored",
    "snapshot": "replaced by backup",
    "watchdog": "replaced by HEALTHCHECK in the Dockerfile",
}
DEFAULTS: Mapping[str, Any] = {
    "apparmor": True,
    "backup": "hot",
    "boot": "auto",
    "hassio_role": "default",
    "ingress_port": 8099,
    "init": True,
    "options": {},
    "panel_admin": True,
    "panel_icon": "mdi:puzzle",
    "schema": {},
    "stage": "stable",
    "startup": "application",
    "timeout": 10,
    "ulimits": {},
}
SWITCHES = {
    "audio", "auth_api", "devicetree", "docker_api", "full_access", "gpio", "hassio_api", "homeassistant_api",
    "host_dbus", "host_ipc", "host_network", "host_pid", "host_uts", "ingress", "ingress_stream", "journald",
    "kernel_modules", "legacy", "realtime", "stdin", "tmpfs", "uart", "udev", "usb", "video",
}  # fmt: skip
CHOICES = {
    "backup": {"hot", "cold"},
    "boot": {"auto", "manual", "manual_only"},
    "stage": {"stable", "experimental", "deprecated"},
    "startup": {"initialize", "system", "services", "application", "once"},
}
TEXTS = {"name", "version", "slug", "description", "url", "image", "homeassistant", "backup_pre", "backup_post",
         "webui", "ingress_entry", "panel_icon", "panel_title", "hassio_role"}  # fmt: skip
LISTS = {"arch", "backup_exclude", "breaking_versions", "devices", "discovery", "machine", "map", "privileged",
         "services"}  # fmt: skip
TABLES = {"environment", "options", "ports", "ports_description", "schema", "ulimits"}
NUMBERS = {"ingress_port", "timeout"}
KNOWN = SWITCHES | TEXTS | LISTS | TABLES | NUMBERS | set(CHOICES) | set(DEFAULTS)

SLUG = re.compile(r"^[-_.A-Za-z0-9]+$")
VERSION = re.compile(r"^\d+(\.\d+)*([-.]?(a|b|rc|dev)\d*)?$")
IMAGE = re.compile(r"^(?:[a-z0-9.-]+(?::\d+)?/)?[a-z0-9._-]+(?:/[a-z0-9._-]+)*$")
PORT = re.compile(r"^\d+(?:/(?:tcp|udp))?$")

Config = Mapping[str, Any]


def faults(config: Config) -> list[str]:
    """Return what is wrong with a config.yaml; none when all is well."""
    rules: tuple[Callable[[Config], Iterator[str]], ...] = (_keys, _types, _values, _maps, _ports, _backup)
    found = [fault for rule in rules for fault in rule(config)]
    return found + option_rules.faults(config.get("schema") or {}, config.get("options") or {})


def _keys(config: Config) -> Iterator[str]:
    for key in REQUIRED:
        if key not in config:
            yield f"{key}: required"
    for key, value in config.items():
        if key in OBSOLETE:
            yield f"{key}: {OBSOLETE[key]}"
        elif key not in KNOWN:
            yield f"{key}: unknown, the Supervisor drops it"
        elif value == DEFAULTS.get(key, False if key in SWITCHES else None):
            yield f"{key}: equals its default"


def _types(config: Config) -> Iterator[str]:
    kinds = ((SWITCHES, bool), (TEXTS, str), (LISTS, list), (TABLES, dict), (NUMBERS, int))
    for keys, kind in kinds:
        for key in keys & set(config):
            if not isinstance(config[key], kind):
                yield f"{key}: must be a {kind.__name__}"


def _values(config: Config) -> Iterator[str]:
    for key, pattern in (("slug", SLUG), ("version", VERSION), ("homeassistant", VERSION), ("image", IMAGE)):
        if key in config and not pattern.match(str(config[key])):
            yield f"{key}: {config[key]!r} does not match {pattern.pattern}"
    for key, choices in CHOICES.items():
        if key in config and config[key] not in choices:
            yield f"{key}: must be one of {sorted(choices)}"
    if "url" in config and urlparse(str(config["url"])).scheme != "https":
        yield "url: must be an https address"
    for arch in config.get("arch", []):
        if arch not in ARCHITECTURES:
            yield f"arch: {arch} is deprecated or unknown"
    if not 10 <= config.get("timeout", 10) <= 300:
        yield "timeout: must be 10 to 300"
    if config.get("ingress") and "webui" in config:
        yield "webui: ingress takes its place"


def _maps(config: Config) -> Iterator[str]:
    for entry in config.get("map", []):
        name, _, mode = str(entry).partition(":")
        if name not in MAPS:
            yield f"map: {name} is renamed or unknown"
        if mode not in {"", "ro", "rw"}:
            yield f"map: {entry} has no mode {mode}"


def _ports(config: Config) -> Iterator[str]:
    for container, host in config.get("ports", {}).items():
        if not PORT.match(str(container)):
            yield f"ports: {container} is no port"
        if host is not None and not (isinstance(host, int) and 1 <= host <= 65535):
            yield f"ports: {host} is no host port"


def _backup(config: Config) -> Iterator[str]:
    if config.get("backup") == "cold":
        for key in ("backup_pre", "backup_post"):
            if key in config:
                yield f"{key}: a cold backup runs no commands"
