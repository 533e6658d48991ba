# SPDX-License-Identifier: AGPL-3.0-or-later
"""Events: one open at a time, found by page and filter, with their newest assessment."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from inference_server.core.event import EndReason, Event
from inference_server.storage import cameras, events
from inference_server.storage.events import EventChange, EventFilter
from inference_server.storage.rows import BadCursorError, Page, decode_cursor, encode_cursor
from inference_server.storage.tables import assessments
from tests.support.home import START, Home, assessment


async def _find(
    home: Home, wanted: EventFilter | None = None, limit: int = 10, cursor: str | None = None
) -> Page[Event]:
    async with home.database.reading() as connection:
        return await events.find(connection, wanted or EventFilter(), limit=limit, cursor=cursor)


def _change(event: Event, score: int, **changes: object) -> EventChange:
    change = EventChange(
        last_detection_at=event.last_detection_at,
        frame_count=event.frame_count + 1,
        best_frame_id=event.best_frame_id,
        best_confidence=0.91,
        tracks=event.tracks,
        assessment=assessment(score, START),
    )
    return replace(change, **changes)  # type: ignore[arg-type]


async def test_a_camera_has_one_open_event_at_most(a_home: Home) -> None:
    await a_home.camera()
    await a_home.event()
    with pytest.raises(IntegrityError):
        await a_home.event()


async def test_an_ended_event_makes_room_for_the_next(a_home: Home) -> None:
    await a_home.camera()
    ended = await a_home.ended_event()
    opened = await a_home.event()
    assert not ended.is_open
    async with a_home.database.reading() as connection:
        assert await events.open_event(connection, "front_door") == opened
        assert await events.open_events(connection) == (opened,)


async def test_an_event_comes_back_as_it_was_stored(a_home: Home) -> None:
    await a_home.camera()
    event = await a_home.event(score=41)
    async with a_home.database.reading() as connection:
        assert await events.get(connection, event.id) == event
        assert await events.get(connection, event.id + 1) is None
        assert await events.get_many(connection, [event.id, event.id + 1]) == (event,)
    assert event.started_at == START
    assert event.assessment == assessment(41, START, "Four people stand at the door.")
    assert len(event.tracks) == 2


async def test_a_changed_verdict_is_kept_beside_the_older_one(a_home: Home) -> None:
    await a_home.camera()
    event = await a_home.event(score=35)
    async with a_home.database.writing() as connection:
        changed = await events.change(connection, event, _change(event, 65))
        count = (await connection.execute(select(func.count()).select_from(assessments))).scalar_one()
        assert await events.get(connection, event.id) == changed
    assert changed.assessment.score == 65
    assert changed.frame_count == 2
    assert count == 2


async def test_an_unchanged_verdict_is_not_stored_again(a_home: Home) -> None:
    await a_home.camera()
    event = await a_home.event(score=35)
    same = replace(event.assessment, assessed_at=START + timedelta(seconds=5))
    later = START + timedelta(seconds=5)
    async with a_home.database.writing() as connection:
        changed = await events.change(connection, event, _change(event, 35, assessment=same, last_detection_at=later))
        count = (await connection.execute(select(func.count()).select_from(assessments))).scalar_one()
    assert changed.last_detection_at == later
    assert changed.assessment == event.assessment
    assert count == 1


async def test_an_end_has_its_time_and_reason(a_home: Home) -> None:
    await a_home.camera()
    event = await a_home.event()
    at = START + timedelta(seconds=30)
    async with a_home.database.writing() as connection:
        ended = await events.end(connection, event, at, EndReason.WINDOW)
        assert await events.get(connection, event.id) == ended
    assert (ended.ended_at, ended.end_reason, ended.is_open) == (at, EndReason.WINDOW, False)


async def test_pages_hold_every_event_once_newest_first(a_home: Home) -> None:
    await a_home.camera()
    made = [await a_home.ended_event() for _ in range(7)]
    found: list[int] = []
    cursor = None
    while True:
        page = await _find(a_home, limit=3, cursor=cursor)
        found += [event.id for event in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert found == [event.id for event in reversed(made)]


async def test_a_page_that_ends_exactly_is_the_last(a_home: Home) -> None:
    await a_home.camera()
    for _ in range(3):
        await a_home.ended_event()
    assert (await _find(a_home, limit=3)).next_cursor is None


async def test_an_event_that_starts_between_two_pages_does_not_shift_them(a_home: Home) -> None:
    await a_home.camera()
    made = [await a_home.ended_event() for _ in range(4)]
    first = await _find(a_home, limit=2)
    await a_home.ended_event()
    second = await _find(a_home, limit=2, cursor=first.next_cursor)
    assert [event.id for event in second.items] == [made[1].id, made[0].id]


async def test_filters_narrow_the_list(a_home: Home) -> None:
    await a_home.camera("front_door")
    await a_home.camera("garden")
    early = await a_home.ended_event("front_door", score=20)
    later = a_home.clock.move(hours=1)
    late = await a_home.ended_event("garden", score=60)

    async def ids(wanted: EventFilter) -> list[int]:
        return [event.id for event in (await _find(a_home, wanted)).items]

    assert await ids(EventFilter(camera_id="garden")) == [late.id]
    assert await ids(EventFilter(camera_id="cellar")) == []
    assert await ids(EventFilter(min_score=60)) == [late.id]
    assert await ids(EventFilter(min_score=61)) == []
    assert await ids(EventFilter(since=later)) == [late.id]
    assert await ids(EventFilter(until=later)) == [early.id]
    assert await ids(EventFilter(since=START, until=later, camera_id="garden")) == []


@given(st.integers(1, 2**63 - 1))
def test_a_cursor_gives_its_id_back(number: int) -> None:
    assert decode_cursor(encode_cursor(number)) == number


@pytest.mark.parametrize("cursor", ["", "!", "é", "\udcff", "bm9uZQ", "A" * 400, "LTE", "MV8w", "IDE", "\x00"])
def test_what_is_no_cursor_is_called_so(cursor: str) -> None:
    with pytest.raises(BadCursorError):
        decode_cursor(cursor)


@given(st.text(max_size=40))
def test_any_text_is_a_usable_cursor_or_a_bad_one(text: str) -> None:
    try:
        number = decode_cursor(text)
    except BadCursorError:
        return
    assert 0 <= number < 2**63


def test_a_number_beyond_the_databases_range_is_no_cursor() -> None:
    with pytest.raises(BadCursorError):
        decode_cursor(encode_cursor(2**63))


async def test_a_camera_is_occupied_by_what_its_open_event_saw(a_home: Home) -> None:
    await a_home.camera()
    event = await a_home.event(score=44)
    async with a_home.database.reading() as connection:
        state = await cameras.state(connection, "front_door", judged=True)
        blind = await cameras.state(connection, "front_door", judged=False)
    assert state is not None
    assert blind is not None
    assert (state.score, state.occupied_by, state.open_event_id) == (44, {"person", "vehicle"}, event.id)
    assert blind.score is None


async def test_a_quiet_camera_is_safe_only_when_it_is_judged(a_home: Home) -> None:
    await a_home.camera()
    ended = await a_home.ended_event()
    async with a_home.database.reading() as connection:
        (state,) = await cameras.states(connection, judged=True)
        (blind,) = await cameras.states(connection, judged=False)
    assert (state.score, state.occupied_by, state.open_event_id, state.last_event_id) == (0, set(), None, ended.id)
    assert blind.score is None


async def test_a_removed_camera_leaves_every_list_and_comes_back(a_home: Home) -> None:
    await a_home.camera()
    await a_home.ended_event()
    async with a_home.database.writing() as connection:
        assert await cameras.remove(connection, "front_door", START)
        assert not await cameras.remove(connection, "front_door", START)
        assert await cameras.state(connection, "front_door", judged=True) is None
        assert await cameras.states(connection, judged=True) == ()
    await a_home.camera()
    async with a_home.database.reading() as connection:
        (state,) = await cameras.states(connection, judged=True)
    assert state.last_event_id is not None
