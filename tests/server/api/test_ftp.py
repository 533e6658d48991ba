# SPDX-License-Identifier: AGPL-3.0-or-later
"""Accounts of the FTP server over the API."""

import pytest

from inference_server.storage import ftp_accounts
from inference_server.storage.passwords import matches
from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Connect
from tests.support.home import Home


async def test_an_account_is_made_and_its_password_is_shown_once(connect: Connect, a_home: Home) -> None:
    client = await connect(Scope.ADMIN)
    made = await (await client.post("/api/ftp/accounts/front_door")).json()
    assert set(made) == {"user", "password"}
    assert made["user"] == "front_door"
    listed = await (await client.get("/api/ftp/accounts")).json()
    assert listed == {
        "items": [{"user": "front_door", "folder": "front_door", "created_at": "2026-11-23T08:00:00Z"}],
    }
    async with a_home.database.reading() as connection:
        account = await ftp_accounts.get(connection, "front_door")
    assert account is not None
    assert matches(made["password"], account.password_hash)


async def test_asking_again_gives_another_password(connect: Connect) -> None:
    client = await connect(Scope.ADMIN)
    first, second = [await (await client.post("/api/ftp/accounts/shed")).json() for _ in range(2)]
    assert first["password"] != second["password"]
    assert len((await (await client.get("/api/ftp/accounts")).json())["items"]) == 1


async def test_an_account_is_removed(connect: Connect) -> None:
    client = await connect(Scope.ADMIN)
    await client.post("/api/ftp/accounts/shed")
    assert (await client.delete("/api/ftp/accounts/shed")).status == 204
    missing = await client.delete("/api/ftp/accounts/shed")
    assert missing.status == 404
    assert (await missing.json())["code"] == "ftp_account_not_found"


@pytest.mark.parametrize("camera", ["Front%20Door", "..%2F..", "x" * 65, "_front_"])
async def test_what_is_no_camera_id_is_refused(connect: Connect, camera: str) -> None:
    client = await connect(Scope.ADMIN)
    answer = await client.post(f"/api/ftp/accounts/{camera}")
    assert answer.status == 422
    assert (await answer.json())["remedy"]
    assert (await (await client.get("/api/ftp/accounts")).json()) == {"items": []}


@pytest.mark.parametrize("scope", [Scope.READ, Scope.INTEGRATION, Scope.UPLOAD])
async def test_only_an_administrator_may(connect: Connect, scope: Scope) -> None:
    client = await connect(scope)
    for method, path in (("GET", ""), ("POST", "/shed"), ("DELETE", "/shed")):
        assert (await client.request(method, f"/api/ftp/accounts{path}")).status == 403
