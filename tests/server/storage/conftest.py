# SPDX-License-Identifier: AGPL-3.0-or-later
"""A home whose data lie in a temporary folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.support.home import Home, home


@pytest.fixture
async def a_home(tmp_path: Path, where: URL | None) -> AsyncIterator[Home]:
    """Give an empty home on either database."""
    async with home(tmp_path, where) as made:
        yield made


@pytest.fixture
async def sqlite_home(tmp_path: Path) -> AsyncIterator[Home]:
    """Give an empty home on a file of SQLite."""
    async with home(tmp_path) as made:
        yield made
