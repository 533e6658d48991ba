# SPDX-License-Identifier: AGPL-3.0-or-later
"""A home whose data lie in a temporary folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.home import Home, home


@pytest.fixture
async def a_home(tmp_path: Path) -> AsyncIterator[Home]:
    """Give an empty home."""
    async with home(tmp_path) as made:
        yield made
