# SPDX-License-Identifier: AGPL-3.0-or-later
"""One house for all tests; each test brings cameras of its own."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e import complaints
from tests.e2e.house import House, house_in
from tests.e2e.watch import Watch


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A house that runs; afterwards neither log may hold a complaint about us."""
    house = house_in(tmp_path_factory.mktemp("house"))
    try:
        await asyncio.gather(house.server.start(), house.start_home_assistant())
        await house.add_integration()
        yield house
    finally:
        await house.stop_home_assistant()
        await house.server.stop()
    assert house.home_assistant.process.log
    assert house.server.process.log
    assert complaints.of_home_assistant(house.home_assistant.process.log, house.losses) == []
    assert complaints.of_server(house.server.process.log) == []


@pytest_asyncio.fixture(loop_scope="session")
async def watch(house: House) -> AsyncIterator[Watch]:
    """Home Assistant's states, from the beginning of the test."""
    async with house.watching() as watch:
        yield watch
