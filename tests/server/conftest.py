# SPDX-License-Identifier: AGPL-3.0-or-later
"""Servers that tests share, each with a database of its own, and the settings of commands."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from inference_server import cli
from tests.support.services import PostgreSql, Redis, running_postgresql, running_redis


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a data folder that the commands use; keep the settings of the machine out and the tests' log as it is."""
    monkeypatch.setattr(cli, "configure_logs", lambda _level: None)
    for name in [name for name in os.environ if name.startswith("HSI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HSI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HSI_MDNS", "false")
    return tmp_path / "data"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSql]:
    """Give a running PostgreSQL."""
    with running_postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest) -> URL | None:
    """Give the URL of an empty database of PostgreSQL, and None for SQLite."""
    if request.param == "sqlite":
        return None
    server: PostgreSql = request.getfixturevalue("postgresql")
    return server.migrated_database()


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    """Give a running Redis."""
    with running_redis() as server:
        yield server
