# SPDX-License-Identifier: AGPL-3.0-or-later
"""The application over a home with real data."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from inference_server.api.application import create_application
from inference_server.api.context import ApiLimits
from inference_server.storage.tokens import Scope
from tests.support.home import Home, home

type Client = TestClient[web.Request, web.Application]
type Connect = Callable[..., Awaitable[Client]]


@pytest.fixture
async def a_home(tmp_path: Path) -> AsyncIterator[Home]:
    """Give an empty home."""
    async with home(tmp_path) as made:
        yield made


@pytest.fixture
async def connect(a_home: Home, aiohttp_client: Callable[..., Awaitable[Client]]) -> Connect:
    """Give a function that starts the application and returns a client, with a token unless the scope is None."""

    async def start(scope: Scope | None = Scope.INTEGRATION, limits: ApiLimits | None = None) -> Client:
        headers = {} if scope is None else {"Authorization": f"Bearer {await a_home.token(scope)}"}
        return await aiohttp_client(create_application(a_home.context(limits)), headers=headers)

    return start
