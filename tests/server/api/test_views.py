# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is wrong with a camera's view, over REST, in health and accepted."""

import pytest

from inference_server.core.announcement import AnnouncementKind
from inference_server.core.view import LastingProblem, Run, View, ViewProblem, ViewState
from inference_server.storage import announcements, views
from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Connect
from tests.support.home import START, Home

PATH = "/api/cameras/front_door"
BLOCKED = ViewState(START, START, Run(START, 9, (ViewProblem.BLOCKED,), sudden=True, counts=True))
TOLD = [{"kind": kind, "since": "2026-11-23T08:00:00Z"} for kind in ("blocked", "tampered")]


@pytest.fixture
async def covered(a_home: Home) -> Home:
    """A home with a covered camera."""
    await a_home.camera()
    async with a_home.database.writing() as connection:
        await views.write(connection, "front_door", View(), View(BLOCKED))
    return a_home


async def test_problems_are_told_until_the_view_is_accepted(covered: Home, connect: Connect) -> None:
    client = await connect()
    assert (await (await client.get(PATH)).json())["view_problems"] == TOLD
    for expected_news in (1, 0):
        async with covered.database.reading() as connection:
            before = await announcements.last_sequence(connection)
        response = await client.post(f"{PATH}/view/accept")
        assert (response.status, (await response.json())["view_problems"]) == (200, [])
        assert (await (await client.get(PATH)).json())["view_problems"] == []
        async with covered.database.reading() as connection:
            news = await announcements.after(connection, before, limit=9)
            assert (await views.get_many(connection, ["front_door"]))["front_door"].state == ViewState()
        assert news is not None
        assert [item.announcement.kind for item in news] == [AnnouncementKind.CAMERA_UPDATED] * expected_news


async def test_a_view_that_is_not_watched_any_more_has_no_problems(covered: Home, connect: Connect) -> None:
    client = await connect()
    assert (await client.patch(PATH, json={"watch_view": False})).status == 200
    assert (await (await client.get(PATH)).json())["view_problems"] == []
    async with covered.database.reading() as connection:
        (item,) = await announcements.after(connection, 0, limit=9) or ()
    assert item.announcement.camera is not None
    assert item.announcement.camera.view_problems == ()


async def test_only_who_may_change_cameras_accepts_a_view(covered: Home, connect: Connect) -> None:
    reader, owner = await connect(Scope.READ), await connect()
    assert (await reader.post(f"{PATH}/view/accept")).status == 403
    unknown = await owner.post("/api/cameras/nowhere/view/accept")
    assert (unknown.status, (await unknown.json())["code"]) == (404, "camera_not_found")


async def test_health_names_the_cameras(covered: Home, connect: Connect) -> None:
    client = await connect()
    for number in range(6):
        await covered.camera(f"yard_{number}")
        async with covered.database.writing() as connection:
            dark = ViewState(START, view=Run(START, 9, (ViewProblem.TOO_DARK,), counts=True))
            assert dark.problems == (LastingProblem(ViewProblem.TOO_DARK, START),)
            await views.write(connection, f"yard_{number}", View(), View(dark))
    await covered.camera_reader.read()
    report = await (await client.get("/api/system/health/full")).json()
    (part,) = [part for part in report["components"] if part["name"] == "cameras"]
    assert part["state"] == "degraded"
    assert part["last_error"].startswith(
        "The view of front_door is blocked and tampered, the view of yard_0 is too dark,"
    )
    assert part["last_error"].endswith(", and 2 more are wrong.")
    assert part["details"] == {"wrong_clocks": 0, "wrong_views": 7, "stationary_objects": 0}
    assert "view/accept" in part["remedy"]
    assert "NTP" not in part["remedy"]
