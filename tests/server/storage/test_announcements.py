# SPDX-License-Identifier: AGPL-3.0-or-later
"""The sequence of announcements, for clients that missed some."""

import pytest

from inference_server.core.announcement import Announcement, AnnouncementKind, SequencedAnnouncement
from inference_server.core.assessment import RiskLevel
from inference_server.storage import announcements, cameras
from tests.support.home import START, Home


def _plain(camera_id: str = "front_door") -> Announcement:
    return Announcement(AnnouncementKind.CAMERA_UPDATED, camera_id, START)


async def _after(home: Home, sequence: int, limit: int = 100) -> tuple[SequencedAnnouncement, ...] | None:
    async with home.database.reading() as connection:
        return await announcements.after(connection, sequence, limit=limit)


async def _numbers(home: Home, sequence: int = 0, limit: int = 100) -> list[int] | None:
    found = await _after(home, sequence, limit)
    return None if found is None else [item.sequence for item in found]


async def test_nothing_announced_is_nothing_missed(a_home: Home) -> None:
    assert await _numbers(a_home) == []
    async with a_home.database.reading() as connection:
        assert await announcements.last_sequence(connection) == 0


async def test_the_sequence_has_no_gap_after_a_rolled_back_transaction(a_home: Home) -> None:
    async def fail() -> None:
        async with a_home.database.writing() as connection:
            await announcements.add(connection, [_plain()] * 3)
            raise RuntimeError("rolled back")

    await a_home.announce(_plain(), _plain())
    with pytest.raises(RuntimeError):
        await fail()
    await a_home.announce(_plain())
    assert await _numbers(a_home) == [1, 2, 3]


async def test_only_what_came_later_is_given_in_order_and_limited(a_home: Home) -> None:
    await a_home.announce(*[_plain(f"camera_{number}") for number in range(5)])
    found = await _after(a_home, 2)
    assert found is not None
    assert [(item.sequence, item.announcement.camera_id) for item in found] == [
        (3, "camera_2"),
        (4, "camera_3"),
        (5, "camera_4"),
    ]
    assert await _numbers(a_home, 2, limit=2) == [3, 4]
    assert await _numbers(a_home, 5) == []


async def test_a_sequence_from_the_future_cannot_be_continued(a_home: Home) -> None:
    await a_home.announce(_plain())
    assert await _numbers(a_home, 2) is None


async def test_what_is_no_longer_kept_cannot_be_continued(a_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcements, "KEPT", 3)
    await a_home.announce(*[_plain()] * 10)
    async with a_home.database.writing() as connection:
        assert await announcements.prune(connection) == 7
        assert await announcements.prune(connection) == 0
    assert await _numbers(a_home, 6) is None
    assert await _numbers(a_home, 7) == [8, 9, 10]
    await a_home.announce(_plain())
    assert await _numbers(a_home, 10) == [11]


async def test_an_announcement_comes_back_with_its_camera_and_event(a_home: Home) -> None:
    await a_home.camera()
    event = await a_home.event()
    async with a_home.database.reading() as connection:
        state = await cameras.state(connection, "front_door", judged=True)
    kind = AnnouncementKind.EVENT_ESCALATED
    told = Announcement(kind, "front_door", START, state, event, previous_level=RiskLevel.LOW)
    await a_home.announce(told)
    assert await _after(a_home, 0) == (SequencedAnnouncement(1, told),)


async def test_announcing_nothing_takes_no_number(a_home: Home) -> None:
    await a_home.announce()
    assert await _numbers(a_home) == []
