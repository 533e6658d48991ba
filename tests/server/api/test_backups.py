# SPDX-License-Identifier: AGPL-3.0-or-later
"""Backups over REST: made, listed, fetched whole or in part, removed; for administrators alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from inference_server.pipeline import backups as module
from inference_server.storage.backup.verify import verify
from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Client, Connect
from tests.support.home import Home

PATH = "/api/system/backups"
NAME = "manual-20261123T080000Z.tar"


@pytest.fixture
async def working(a_home: Home) -> AsyncIterator[None]:
    """Let the part run that makes backups."""
    task = asyncio.create_task(a_home.backups.run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _made(client: Client, query: str = "") -> dict[str, Any]:
    answer = await client.post(PATH + query)
    assert answer.status == 202
    assert (await answer.json()).keys() == {"kind", "started_at", "media"}
    async with asyncio.timeout(30):
        while (listed := await (await client.get(PATH)).json())["running"]:  # noqa: ASYNC110 - as a client does
            await asyncio.sleep(0.01)
    (item,) = listed["items"]
    found: dict[str, Any] = item
    return found


@pytest.mark.usefixtures("working")
async def test_a_backup_is_made_listed_fetched_and_removed(a_home: Home, connect: Connect, tmp_path: Path) -> None:
    await a_home.camera()
    await a_home.ended_event()
    client = await connect(Scope.ADMIN)
    made = await _made(client)
    assert made["name"] == NAME
    assert made["verified_at"] == made["created_at"] == "2026-11-23T08:00:00Z"
    assert (made["kind"], made["encrypted"], made["media_files"]) == ("manual", False, 1)

    answer = await client.get(f"{PATH}/{NAME}/archive")
    content = await answer.read()
    assert (answer.status, len(content)) == (200, made["size"])
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{NAME}"'
    assert answer.headers["Cache-Control"] == "no-store"
    (tmp_path / "fetched").write_bytes(content)
    assert verify(tmp_path / "fetched").manifest.rows == made["rows"]

    rest = await client.get(f"{PATH}/{NAME}/archive", headers={"Range": "bytes=1000-"})
    assert (rest.status, await rest.read()) == (206, content[1000:])
    assert rest.headers["Content-Range"] == f"bytes 1000-{len(content) - 1}/{len(content)}"
    head = await client.head(f"{PATH}/{NAME}/archive")
    assert head.headers["Content-Length"] == str(len(content))
    outside = await client.get(f"{PATH}/{NAME}/archive", headers={"Range": f"bytes={len(content)}-"})
    assert outside.status == 416

    assert (await client.delete(f"{PATH}/{NAME}")).status == 204
    assert (await (await client.get(PATH)).json()) == {"items": [], "running": None}
    for method, path in (("DELETE", f"{PATH}/{NAME}"), ("GET", f"{PATH}/{NAME}/archive")):
        gone = await client.request(method, path)
        assert (gone.status, (await gone.json())["code"]) == (404, "backup_not_found")


@pytest.mark.usefixtures("working")
async def test_a_backup_without_media_is_asked_for(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    await a_home.frame()
    made = await _made(await connect(Scope.ADMIN), "?media=false")
    assert made["media_files"] is None
    assert made["rows"] > 0


async def test_a_second_backup_waits_for_the_first(connect: Connect) -> None:
    client = await connect(Scope.ADMIN)
    assert (await client.post(PATH)).status == 202
    busy = await client.post(PATH)
    assert (busy.status, (await busy.json())["code"]) == (409, "backup_running")
    assert "Retry-After" in busy.headers
    assert (await (await client.get(PATH)).json())["running"]["kind"] == "manual"


async def test_no_backup_is_begun_on_a_nearly_full_disk(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEP_FREE", 1.0)
    answer = await (await connect(Scope.ADMIN)).post(PATH)
    problem = await answer.json()
    assert (answer.status, problem["code"]) == (507, "disk_nearly_full")
    assert "hsi backup --output" in problem["remedy"]


@pytest.mark.parametrize("scope", [Scope.READ, Scope.INTEGRATION, Scope.UPLOAD, None])
async def test_backups_are_for_administrators(connect: Connect, scope: Scope | None) -> None:
    client = await connect(scope)
    for method, path in (
        ("GET", PATH),
        ("POST", PATH),
        ("DELETE", f"{PATH}/{NAME}"),
        ("GET", f"{PATH}/{NAME}/archive"),
    ):
        answer = await client.request(method, path)
        assert answer.status == (401 if scope is None else 403)


@pytest.mark.parametrize(
    "name", ["token", "hsi.db", "..%2Ftoken", "%2e%2e", "manual-x.tar", "a" * 70, ".manual-1Z.tar.part"]
)
async def test_nothing_but_backups_can_be_fetched_or_removed(connect: Connect, name: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    client = await connect(Scope.ADMIN)
    for method, path in (("GET", f"{PATH}/{name}/archive"), ("DELETE", f"{PATH}/{name}")):
        answer = await client.request(method, path)
        assert answer.status in {404, 405, 422}
    assert (tmp_path / "token").exists()
