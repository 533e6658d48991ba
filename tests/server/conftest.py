# SPDX-License-Identifier: AGPL-3.0-or-later
"""Servers that tests share: each takes a database of its own."""

from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from tests.support.services import PostgreSql, Redis, running_postgresql, running_redis


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
