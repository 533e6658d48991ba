# SPDX-License-Identifier: AGPL-3.0-or-later
"""A pipeline in a temporary folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.support.bench import Bench, bench


@pytest.fixture
async def a_bench(tmp_path: Path, where: URL | None) -> AsyncIterator[Bench]:
    """Give a pipeline with the default settings on either database."""
    async with bench(tmp_path, where=where) as made:
        yield made
