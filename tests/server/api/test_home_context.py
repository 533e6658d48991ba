# SPDX-License-Identifier: AGPL-3.0-or-later
"""The state of the home over the API."""

import pytest

from inference_server.core.context import STALE_AFTER
from tests.server.api.conftest import Connect
from tests.support.home import Home

UNKNOWN = {"mode": None, "people_home": None, "alarm": None, "sun_is_up": None, "quiet_hours": None}


async def test_what_is_told_is_answered_until_it_is_told_anew(a_home: Home, connect: Connect) -> None:
    client = await connect()
    nothing = await (await client.get("/api/context")).json()
    assert nothing == {**UNKNOWN, "told_at": None, "stale": True}
    told = {"mode": "away", "people_home": 0, "alarm": "armed_away", "sun_is_up": False, "quiet_hours": True}
    answer = await (await client.put("/api/context", json=told)).json()
    assert answer == {**told, "told_at": answer["told_at"], "stale": False}
    assert await (await client.get("/api/context")).json() == answer
    again = await (await client.put("/api/context", json={"mode": "home"})).json()
    assert again == {**UNKNOWN, "mode": "home", "told_at": again["told_at"], "stale": False}
    a_home.clock.move(seconds=STALE_AFTER.total_seconds() + 1)
    assert (await (await client.get("/api/context")).json())["stale"] is True


@pytest.mark.parametrize(
    "told",
    [
        {"mode": "holiday"},
        {"people_home": -1},
        {"people_home": 1e308},
        {"people_home": "two"},
        {"alarm": "armed"},
        {"sun": True},
        [],
        {"quiet_hours": "perhaps"},
    ],
)
async def test_what_is_no_state_of_a_home_is_refused_and_changes_nothing(connect: Connect, told: object) -> None:
    client = await connect()
    response = await client.put("/api/context", json=told)
    assert response.status == 422
    assert (await response.json())["code"] == "invalid_request"
    assert (await (await client.get("/api/context")).json())["told_at"] is None
