# SPDX-License-Identifier: AGPL-3.0-or-later
"""config.yaml and repository.yaml are what the Supervisor accepts, and name this project's own facts."""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from tests.addon import config_rules
from tests.addon.files import ADDON, ROOT, read_config, read_project

REPOSITORY = "https://github.com/home-security-intelligence/home-security-intelligence"
MANIFEST = ROOT / "custom_components" / "home_security_intelligence" / "manifest.json"
CONFIG_SUFFIXES = {".json", ".yaml", ".yml"}
IGNORED_BY_GIT = {"node_modules", "dist"}


def test_the_supervisor_accepts_the_config() -> None:
    assert config_rules.faults(read_config()) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"arch": ["amd64", "armv7"]}, "arch: armv7"),
        ({"watchdog": "http://[HOST]:[PORT:8000]"}, "watchdog"),
        ({"advanced": True}, "advanced"),
        ({"codenotary": "a@b.c"}, "codenotary"),
        ({"boot": "auto"}, "boot: equals its default"),
        ({"host_network": False}, "host_network: equals its default"),
        ({"gpu": True}, "gpu: unknown"),
        ({"map": ["addon_config:rw"]}, "map: addon_config"),
        ({"map": ["media:wr"]}, "map: media:wr"),
        ({"slug": "home security"}, "slug"),
        ({"version": "newest"}, "version"),
        ({"image": "ghcr.io/Home/Image"}, "image"),
        ({"timeout": 5}, "timeout"),
        ({"backup": "warm"}, "backup"),
        ({"backup_pre": "sync"}, "backup_pre"),
        ({"ports": {"8000/tcp": "open"}}, "ports: open"),
        ({"ports": {"http": None}}, "ports: http"),
        ({"discovery": "home_security_intelligence"}, "discovery: must be a list"),
        ({"schema": {"a": "strong"}, "options": {"a": "b"}}, "a: unknown type"),
        ({"schema": {"a": "str(1,5)"}, "options": {"a": "b"}}, "a: the Supervisor compares a text"),
        ({"schema": {"a": "int(1,5)"}, "options": {"a": 6}}, "a: 6 is no int(1,5)"),
        ({"schema": {"a": "int(1,5)"}, "options": {"a": 1.5}}, "a: 1.5 is no int(1,5)"),
        ({"schema": {"a": "float(0.5,)"}, "options": {"a": 0.4}}, "a: 0.4 is no float"),
        ({"schema": {"a": "bool"}, "options": {"a": "yes"}}, "a: 'yes' is no bool"),
        ({"schema": {"a": "list(b|c)"}, "options": {"a": "d"}}, "a: 'd' is no list(b|c)"),
        ({"schema": {"a": "match(^b$)"}, "options": {"a": "c"}}, "a: 'c' is no match"),
        ({"schema": {"a": "port"}, "options": {"a": 70000}}, "a: 70000 is no port"),
        ({"schema": {"a": "url"}, "options": {"a": "here"}}, "a: 'here' is no url"),
        ({"schema": {"a": "email"}, "options": {"a": "here"}}, "a: 'here' is no email"),
        ({"schema": {"a": "str?"}, "options": {"a": "b"}}, "a: a default makes"),
        ({"schema": {"a": "str"}, "options": {}}, "a: required, but has no default"),
        ({"schema": {}, "options": {"a": {"b": 1}}}, "a.b: not in the schema"),
        ({"schema": {"a": {"b": {"c": "str"}}}, "options": {"a": {"b": {"c": "d"}}}}, "a.b.c: nested"),
    ],
)
def test_the_rules_find_what_is_wrong(change: dict[str, Any], fault: str) -> None:
    assert any(found.startswith(fault) for found in config_rules.faults(read_config() | change))


@pytest.mark.parametrize("key", config_rules.REQUIRED)
def test_the_rules_notice_what_is_missing(key: str) -> None:
    config = read_config()
    del config[key]
    assert f"{key}: required" in config_rules.faults(config)


def test_one_version_for_app_and_server() -> None:
    assert read_config()["version"] == read_project()["version"]


def test_one_version_for_app_and_integration() -> None:
    if not MANIFEST.exists():
        pytest.skip("the integration is not in this checkout")
    assert read_config()["version"] == json.loads(MANIFEST.read_text())["version"]


def test_the_change_log_tells_this_version() -> None:
    assert f"## {read_config()['version']}" in (ADDON / "CHANGELOG.md").read_text()


def test_the_repository_is_the_one_users_add() -> None:
    repository = yaml.safe_load((ROOT / "repository.yaml").read_text())
    assert set(repository) == {"name", "url", "maintainer"}
    assert repository["url"] == read_config()["url"] == REPOSITORY
    assert REPOSITORY in (ADDON / "DOCS.md").read_text()


def test_the_supervisor_finds_this_one_app() -> None:
    assert list(_apps_seen_by_the_supervisor(ROOT)) == [ADDON / "config.yaml"]


def test_a_second_config_file_would_be_found(tmp_path: Path) -> None:
    hidden = [tmp_path / ".venv" / "config.json", tmp_path / "addon" / "rootfs" / "config.yaml"]
    seen = [tmp_path / "tests" / "config.yml"]
    for file in hidden + seen:
        file.parent.mkdir(parents=True)
        file.touch()
    assert list(_apps_seen_by_the_supervisor(tmp_path)) == seen


@pytest.mark.parametrize(
    ("path", "left_out"),
    [
        ("/data/addons/data/4f6c1a2b_home_security_intelligence/models", True),
        ("/data/addons/data/local_home_security_intelligence/models", True),
        ("/data/addons/data/4f6c1a2b_home_security_intelligence/backups", True),
        ("/data/addons/data/4f6c1a2b_home_security_intelligence/hsi.db", False),
        ("/data/addons/data/4f6c1a2b_home_security_intelligence/media/models", False),
        ("/data/addons/data/4f6c1a2b_home_security_intelligence/media/backups/x.jpg", False),
        ("/data/addons/data/4f6c1a2b_home_security_intelligence/options.json", False),
    ],
)
def test_a_backup_leaves_out_the_weights_the_backups_and_nothing_else(path: str, left_out: bool) -> None:
    """The Supervisor matches the patterns against the path on the host, folders before what they hold."""
    assert any(PurePosixPath(path).match(pattern) for pattern in read_config()["backup_exclude"]) is left_out


def _apps_seen_by_the_supervisor(root: Path) -> Iterator[Path]:
    """Yield what the Supervisor reads as apps: its own rule, on what a clone of the repository holds."""
    for file in sorted(root.rglob("config.*")):
        parts = file.relative_to(root).parts
        if any(part.startswith(".") or part == "rootfs" or part in IGNORED_BY_GIT for part in parts):
            continue
        if file.suffix in CONFIG_SUFFIXES:
            yield file
