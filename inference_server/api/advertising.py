# SPDX-License-Identifier: AGPL-3.0-or-later
"""Advertising: this server is shown to Home Assistant by every way there is, while it serves."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from inference_server.api.announce import SUPERVISOR_TOKEN_VARIABLE, Advertisement, SupervisorDiscovery
from inference_server.api.mdns import MdnsService


@asynccontextmanager
async def advertised(advertisement: Advertisement, *, token: str, mdns: bool) -> AsyncIterator[None]:
    """Tell the Supervisor where there is one, with the token, and the network by mDNS where that is wanted."""
    supervisor_token = os.environ.get(SUPERVISOR_TOKEN_VARIABLE)
    async with AsyncExitStack() as stack:
        if supervisor_token:
            session = await stack.enter_async_context(aiohttp.ClientSession())
            discovery = SupervisorDiscovery(session, advertisement, token=token, supervisor_token=supervisor_token)
            await discovery.start()
            stack.push_async_callback(discovery.stop)
        if mdns:
            service = MdnsService(advertisement, homeassistant_app=bool(supervisor_token))
            showing = asyncio.create_task(service.start(), name="mdns")
            stack.push_async_callback(service.stop)
            stack.callback(showing.cancel)
        yield
