# SPDX-License-Identifier: AGPL-3.0-or-later
"""A whole server knows the shipped prompts from its start, and goes by what the command line changes."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from inference_server.app import Server
from inference_server.cli import main
from inference_server.core.prompt import PromptKind
from inference_server.risk.prompts.shipped import newest_shipped
from inference_server.settings import Settings

PATIENCE_SECONDS = 60


async def test_a_running_server_tells_what_the_command_line_put_to_use(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setenv("HSI_API__PORT", str(unused_tcp_port))
    monkeypatch.setenv("HSI_API__HOST", "127.0.0.1")
    mine = tmp_path / "mine.toml"
    mine.write_text(newest_shipped(PromptKind.ANALYST).text.replace('name = "Standard"', 'name = "Mine"'))
    stop = asyncio.Event()
    serving = asyncio.create_task(Server(Settings()).run(stop))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            url = f"http://127.0.0.1:{unused_tcp_port}"
            await _answers(url)
            headers = {"Authorization": f"Bearer {(data / 'token').read_text().strip()}"}
            async with aiohttp.ClientSession(url, headers=headers) as http:
                assert await _active(http) == {"analyst": 1, "summary": 1}
                assert await asyncio.to_thread(main, ("prompts", "add", "analyst", str(mine))) == 0
                assert await asyncio.to_thread(main, ("prompts", "activate", "analyst", "2")) == 0
                assert await _active(http) == {"analyst": 2, "summary": 1}
    finally:
        stop.set()
        await serving


async def _active(http: aiohttp.ClientSession) -> dict[str, int]:
    async with http.get("/api/prompts") as answer:
        return {item["kind"]: item["active"] for item in (await answer.json())["items"]}


async def _answers(url: str) -> None:
    async with aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"{url}/api/system/health") as answer:
                    if answer.ok:
                        return
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)
