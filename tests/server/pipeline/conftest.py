# SPDX-License-Identifier: AGPL-3.0-or-later
"""A pipeline in a temporary folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.bench import Bench, bench


@pytest.fixture
async def a_bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Give a pipeline with the default settings."""
    async with bench(tmp_path) as made:
        yield made
