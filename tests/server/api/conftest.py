# SPDX-License-Identifier: AGPL-3.0-or-later
"""The application over a home with real data."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

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


async def all_items(client: Client, path: str, limit: int) -> list[dict[str, Any]]:
    """Return the items of every page."""
    items: list[dict[str, Any]] = []
    query = {"limit": str(limit)}
    while True:
        page = await (await client.get(path, params=query)).json()
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        query["cursor"] = page["next_cursor"]
